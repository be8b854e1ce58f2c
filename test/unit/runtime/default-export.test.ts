import { expect, test } from 'vitest'
import { defaultExportOf } from '../../../src/runtime/default-export.ts'

/** As the bundler writes them: what is imported from 'meshwork' is called as a member, and the exports stand at the end. */
test.each([
  ['a kernel', 'var x=(0,m.defineKernel)({kernel(){}});export{x as default};', 'kernel'],
  ['of a namespace', 'var x=m.defineKernel({});export{x as default};', 'kernel'],
  ['by another name', 'var k=(0,m.defineKernel)({});var x=k;export{x as default};', 'kernel'],
  [
    'a task',
    'var k=(0,m.defineKernel)({});var x=(0,m.defineTask)({});export{x as default};',
    'task',
  ],
  ['a function', 'async function f(i){return 1}export{f as default};', 'function'],
  ['an arrow', 'var x=i=>1;export{x as default};', 'function'],
  ['a class', 'class A{}export{A as default};', 'function'],
  ['fields', 'var x={name:"k",kernel(a){return 1}};export{x as default};', 'fields'],
  ['fields, arrow', 'var x={kernel:a=>1};export{x as default};', 'fields'],
  ['another object', 'var x={kernel:1,...y};export{x as default};', 'unknown'],
  ['what a function gives', 'var x=make();export{x as default};', 'unknown'],
  ['a name from elsewhere', 'import x from "node:fs";export{x as default};', 'unknown'],
  ['a name for itself', 'var x=x;export{x as default};', 'unknown'],
  ['a CommonJS file', 'var r=c({});export default r();', 'unknown'],
  ['nothing', 'var x=1;export{x as y};', 'none'],
  ['no program', 'var 1', 'unknown'],
])('%s', (_, text, kind) => {
  expect(defaultExportOf(text).kind).toBe(kind)
})

test('kernels under other names', () => {
  const text =
    'var a=(0,m.defineKernel)({});var b=a;var c=1;function f(){}export{a as product,b,c,f,a as default};'
  expect(defaultExportOf(text)).toEqual({ kind: 'kernel', kernels: ['product', 'b'] })
})
