/** Free names of a syntax tree (ESTree, as acorn makes it). */

export interface SyntaxNode {
  readonly type: string
  readonly [field: string]: unknown
}

export interface FreeNames {
  readonly free: ReadonlySet<string>
  /** Specifiers of import() calls with a literal. */
  readonly imports: ReadonlySet<string>
  /** `super` outside of any class in the tree. */
  readonly usesSuper: boolean
}

type Scope = { readonly names: Set<string>; readonly parent: Scope | undefined }

export function freeNames(tree: SyntaxNode): FreeNames {
  const walker = new Walker()
  walker.visit(tree, { names: new Set(), parent: undefined })
  return walker
}

class Walker implements FreeNames {
  readonly free = new Set<string>()
  readonly imports = new Set<string>()
  usesSuper = false
  private classes = 0

  visit(node: unknown, scope: Scope): void {
    if (Array.isArray(node)) {
      for (const each of node) this.visit(each, scope)
      return
    }
    if (!isNode(node)) return
    switch (node.type) {
      case 'Identifier':
        this.use(node.name as string, scope)
        return
      case 'MemberExpression':
        this.visit(node.object, scope)
        if (node.computed) this.visit(node.property, scope)
        return
      case 'Property':
      case 'MethodDefinition':
      case 'PropertyDefinition':
        if (node.computed) this.visit(node.key, scope)
        this.visit(node.value, scope)
        return
      case 'UnaryExpression':
        // typeof of an undefined name is no error: the usual way to ask whether it is there.
        if (node.operator === 'typeof' && isNode(node.argument, 'Identifier')) return
        this.visit(node.argument, scope)
        return
      case 'LabeledStatement':
        this.visit(node.body, scope)
        return
      case 'BreakStatement':
      case 'ContinueStatement':
      case 'MetaProperty':
        return
      case 'Super':
        if (this.classes === 0) this.usesSuper = true
        return
      case 'ImportExpression':
        this.visitImport(node, scope)
        return
      case 'FunctionDeclaration':
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        this.visitFunction(node, scope)
        return
      case 'ClassDeclaration':
      case 'ClassExpression':
        this.visitClass(node, scope)
        return
      case 'CatchClause':
        this.visitCatch(node, scope)
        return
      case 'BlockStatement':
      case 'StaticBlock':
      case 'SwitchStatement':
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
        this.visitBlock(node, scope)
        return
      default:
        this.visitChildren(node, scope)
    }
  }

  private visitChildren(node: SyntaxNode, scope: Scope): void {
    for (const key of Object.keys(node)) if (key !== 'type') this.visit(node[key], scope)
  }

  private use(name: string, from: Scope): void {
    for (let scope: Scope | undefined = from; scope !== undefined; scope = scope.parent) {
      if (scope.names.has(name)) return
    }
    this.free.add(name)
  }

  private visitImport(node: SyntaxNode, scope: Scope): void {
    if (isNode(node.source, 'Literal')) this.imports.add(String(node.source.value))
    else this.visit(node.source, scope)
    this.visit(node.options, scope)
  }

  private visitFunction(node: SyntaxNode, outer: Scope): void {
    const scope: Scope = { names: new Set(), parent: outer }
    if (node.type !== 'ArrowFunctionExpression') scope.names.add('arguments')
    if (isNode(node.id)) scope.names.add(node.id.name as string)
    for (const param of node.params as unknown[]) bindPattern(param, scope.names)
    collectVars(node.body, scope.names)
    // Defaults and computed keys in the parameters are expressions of their own.
    for (const param of node.params as unknown[]) this.visitPattern(param, scope)
    this.visit(node.body, scope)
  }

  private visitClass(node: SyntaxNode, outer: Scope): void {
    const scope: Scope = { names: new Set(), parent: outer }
    if (isNode(node.id)) scope.names.add(node.id.name as string)
    this.visit(node.superClass, scope)
    this.classes += 1
    this.visit((node.body as SyntaxNode).body, scope)
    this.classes -= 1
  }

  private visitCatch(node: SyntaxNode, outer: Scope): void {
    const scope: Scope = { names: new Set(), parent: outer }
    bindPattern(node.param, scope.names)
    this.visitPattern(node.param, scope)
    this.visit(node.body, scope)
  }

  private visitBlock(node: SyntaxNode, outer: Scope): void {
    const scope: Scope = { names: new Set(), parent: outer }
    const cases = (node.cases as SyntaxNode[] | undefined)?.flatMap((it) => it.consequent)
    const body = Array.isArray(node.body) ? (node.body as unknown[]) : (cases ?? [])
    for (const statement of [...body, node.init, node.left]) bindLexical(statement, scope.names)
    this.visitChildren(node, scope)
  }

  /** Names bound by the pattern are in scope already; what is left are its defaults and computed keys. */
  private visitPattern(pattern: unknown, scope: Scope): void {
    this.visit(pattern, scope)
  }
}

function isNode(value: unknown, type?: string): value is SyntaxNode {
  if (typeof value !== 'object' || value === null) return false
  const found = (value as { type?: unknown }).type
  return typeof found === 'string' && (type === undefined || found === type)
}

/** Adds every name that a binding pattern declares. */
function bindPattern(pattern: unknown, into: Set<string>): void {
  if (!isNode(pattern)) return
  switch (pattern.type) {
    case 'Identifier':
      into.add(pattern.name as string)
      return
    case 'ObjectPattern':
      for (const property of pattern.properties as SyntaxNode[]) {
        bindPattern(property.type === 'RestElement' ? property : property.value, into)
      }
      return
    case 'ArrayPattern':
      for (const element of pattern.elements as unknown[]) bindPattern(element, into)
      return
    case 'AssignmentPattern':
      bindPattern(pattern.left, into)
      return
    case 'RestElement':
      bindPattern(pattern.argument, into)
  }
}

/** let, const, class and function of one block. */
function bindLexical(statement: unknown, into: Set<string>): void {
  if (!isNode(statement)) return
  if (statement.type === 'VariableDeclaration') {
    for (const it of statement.declarations as SyntaxNode[]) bindPattern(it.id, into)
  } else if (statement.type === 'FunctionDeclaration' || statement.type === 'ClassDeclaration') {
    bindPattern(statement.id, into)
  }
}

/** `var` is hoisted out of every block, but not out of functions. */
function collectVars(node: unknown, into: Set<string>): void {
  if (Array.isArray(node)) {
    for (const each of node) collectVars(each, into)
    return
  }
  if (!isNode(node)) return
  if (/Function|Class/.test(node.type)) return
  if (node.type === 'VariableDeclaration' && node.kind === 'var') bindLexical(node, into)
  for (const key of Object.keys(node)) if (key !== 'type') collectVars(node[key], into)
}
