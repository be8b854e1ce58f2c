/** What the check of a kernel keeps in mind, and the places that the rewriting will change. */
import type { AnyNode, AssignmentExpression, Identifier, Node, UpdateExpression } from 'acorn'
import { MeshError } from '../base/errors.ts'
import { MAX_DEPTH } from './kernel-limits.ts'
import { nameFault, OWN_PREFIX } from './kernel-words.ts'
import type { KernelArg, KernelSpec } from './types.ts'

/** What a source is checked against: all of a KernelSpec but its source. */
export type KernelFacts = Pick<
  KernelSpec,
  'output' | 'constants' | 'args' | 'loopMaxIterations'
> & {
  readonly name?: string
}

/** 0 is x. */
export type Axis = 0 | 1 | 2
export const AXIS_NAMES = ['x', 'y', 'z'] as const

/** A place of the source that the rewriting changes; `start` and `end` count characters. */
export type Site =
  | { readonly start: number; readonly end: number; readonly text: string }
  /** `this.thread.*`: here it becomes global… */
  | { readonly start: number; readonly end: number; readonly thread: Axis }
  /** …and this variable, which is global, local again. */
  | { readonly start: number; readonly end: number; readonly local: Axis; readonly name: string }

/** How gpu.js types a number: i32, a literal that is either, or f32. Its rules are those of getType in its function-node.js. */
export type Kind = 'int' | 'literal' | 'float'

export type Value =
  | { readonly is: 'boolean' }
  | {
      readonly is: 'number'
      readonly kind: Kind
      /** It is a whole number for sure. */
      readonly whole: boolean
      /** Its value, where that is a whole number which the source alone tells. */
      readonly fixed?: number
      /** Of an integer: what it is at most, either side of 0, where that is known. */
      readonly most?: number
      /** An integer that a counter is part of: i32 on a GPU, and f32 as WebAssembly. */
      readonly counted?: boolean
    }

export type NumberValue = Extract<Value, { is: 'number' }>
export const FLOAT: Value = { is: 'number', kind: 'float', whole: false }
export const WHOLE_FLOAT: Value = { is: 'number', kind: 'float', whole: true }
export const INT: Value = { is: 'number', kind: 'int', whole: true }

export interface Local {
  /** Its name in the source, and the one that it gets. */
  readonly name: string
  readonly emitted: string
  readonly readOnly: boolean
  readonly kind: 'int' | 'float'
  readonly whole: boolean
  /** It is `this.thread.*` and stays so. */
  readonly thread?: Axis
  /** Of a counter: as of a value, once the head of its loop was looked at. */
  most?: number
}

/** A place that gives a variable another value. */
export type Change = AssignmentExpression | UpdateExpression

export interface Loop {
  /** Why `continue` may not stand in it. */
  readonly noContinue?: string
}

export class Check {
  readonly source: string
  readonly facts: KernelFacts
  readonly params = new Map<string, KernelArg>()
  readonly sites: Site[] = []
  /** What was found of each expression so far. */
  readonly values = new Map<AnyNode, Value>()
  /** Innermost last. */
  readonly loops: Loop[] = []
  private readonly scopes: { readonly node: AnyNode; readonly locals: Map<string, Local> }[] = []
  /** How often each name was declared so far. */
  private readonly declared = new Map<string, number>()
  private changes = new Map<string, Change[]>()
  private depth = 0
  choices = 0

  constructor(source: string, facts: KernelFacts) {
    this.source = source
    this.facts = facts
  }

  /** @throws ERR_MESH_KERNEL_INVALID */
  refuse(at: Node | number, message: string): never {
    throw invalid(this.source, typeof at === 'number' ? at : at.start, message, this.facts.name)
  }

  /** To be called once, before changesOf(). */
  learnChanges(root: AnyNode): void {
    this.changes = changesIn(root)
  }

  /**
   * Where the variable that `id` declares changes under `node`. Names are not declared again inside their scope, so that the name tells
   * which it is; one before the declaration is another's.
   */
  changesOf(id: Identifier, node: AnyNode): Change[] {
    const all = this.changes.get(id.name) ?? []
    const from = Math.max(node.start, id.end)
    return all.filter(({ start, end }) => start >= from && end <= node.end)
  }

  /** Runs `visit` one level deeper. */
  nested<T>(node: Node, visit: () => T): T {
    if (++this.depth > MAX_DEPTH) {
      this.refuse(node, `this is nested more than ${MAX_DEPTH} deep: put parts into variables`)
    }
    const result = visit()
    this.depth--
    return result
  }

  /** Runs `visit` with a scope of its own, which ends with `node`. */
  scoped<T>(node: AnyNode, visit: () => T): T {
    this.scopes.push({ node, locals: new Map() })
    const result = visit()
    this.scopes.pop()
    return result
  }

  /** All that can see what is declared now. */
  get scopeNode(): AnyNode {
    return this.scopes.at(-1)!.node
  }

  checkName(node: Identifier): void {
    const fault = nameFault(node.name)
    if (fault !== undefined) this.refuse(node, fault)
  }

  find(name: string): Local | undefined {
    for (let i = this.scopes.length - 1; i >= 0; i--) {
      const found = this.scopes[i]!.locals.get(name)
      if (found !== undefined) return found
    }
    return undefined
  }

  /**
   * Adds a variable to the innermost scope. WebAssembly keeps one variable per name and WGSL lifts some out of their block, so
   * that a name which is declared again, side by side, is given another one.
   */
  declare(id: Identifier, local: Omit<Local, 'name' | 'emitted'>): Local {
    const { name } = id
    this.checkName(id)
    if (this.params.has(name)) {
      this.refuse(id, `"${name}" is an argument already: give the variable another name`)
    }
    if (this.find(name) !== undefined) {
      this.refuse(id, `"${name}" is declared around here already: give one of the two another name`)
    }
    const times = (this.declared.get(name) ?? 0) + 1
    this.declared.set(name, times)
    const emitted = times === 1 ? name : `${OWN_PREFIX}${times}_${name}`
    const made = { ...local, name, emitted }
    this.scopes.at(-1)!.locals.set(name, made)
    this.rename(id, made)
    return made
  }

  rename({ start, end }: Identifier, local: Local): void {
    if (local.emitted !== local.name) this.mark({ start, end, text: local.emitted })
  }

  /** A change of a place; those inside it are forgotten. */
  mark(site: Site): void {
    for (let i = this.sites.length - 1; i >= 0; i--) {
      const inner = this.sites[i]!
      if (inner.start >= site.start && inner.end <= site.end) this.sites.splice(i, 1)
    }
    this.sites.push(site)
  }
}

/** All places of a tree that change a variable, by its name. */
function changesIn(root: AnyNode): Map<string, Change[]> {
  const changes = new Map<string, Change[]>()
  for (const node of nodesOf(root)) {
    const left =
      node.type === 'AssignmentExpression'
        ? node.left
        : node.type === 'UpdateExpression'
          ? node.argument
          : undefined
    if (left?.type !== 'Identifier') continue
    const list = changes.get(left.name) ?? []
    list.push(node as Change)
    changes.set(left.name, list)
  }
  return changes
}

/** An error that names line and column, both from 1. */
export function invalid(source: string, at: number, message: string, name?: string): MeshError {
  const before = source.slice(0, at).split('\n')
  const line = before.length
  const column = before.at(-1)!.length + 1
  const kernel = name === undefined ? 'the kernel' : `the kernel "${name}"`
  return new MeshError('ERR_MESH_KERNEL_INVALID', `${kernel}, ${line}:${column}: ${message}`, {
    details: { line, column },
  })
}

/** Every node under `node`, itself included. */
function* nodesOf(node: AnyNode): Generator<AnyNode> {
  const stack: AnyNode[] = [node]
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    yield next
    for (const child of Object.values(next)) {
      for (const one of Array.isArray(child) ? child : [child]) {
        if (typeof one === 'object' && one !== null && typeof one.type === 'string') {
          stack.push(one as AnyNode)
        }
      }
    }
  }
}
