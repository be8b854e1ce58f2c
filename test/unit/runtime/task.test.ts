import { describe, expect, it } from 'vitest'
import { defineTask, isTask } from '../../../src/runtime/task.ts'

describe('defineTask', () => {
  it('makes a task that other copies of the package recognise', () => {
    const task = defineTask({ name: 'double', run: (item: number) => item * 2 })
    expect(isTask(task)).toBe(true)
    expect(Object.isFrozen(task)).toBe(true)
    expect((task as unknown as Record<symbol, unknown>)[Symbol.for('meshwork.task')]).toBe(true)
    expect(isTask({ name: 'x', run: () => 1 })).toBe(false)
  })

  const run = (): number => 1
  it.each([
    ['no object', undefined, /takes an object/],
    ['a bare function', run, /takes an object/],
    ['no name', { run }, /name must be a string of 1 to 128 characters, but is undefined/],
    ['an empty name', { name: '', run }, /name must be/],
    ['a name with a line break', { name: 'a\nb', run }, /control characters/],
    ['no run', { name: 'a' }, /run of the task "a" must be a function.*undefined/],
    ['a setup that is none', { name: 'a', run, setup: 5 }, /setup of the task "a".*number 5/],
    ['an input that is no schema', { name: 'a', run, input: {} }, /Standard Schema/],
    ['a module that is none', { name: 'a', run, module: true }, /import\.meta\.url/],
    ['a field that no task has', { name: 'a', run, retries: 3 }, /field "retries".*name, run/],
  ])('refuses %s', (_, definition, message) => {
    expect(() => defineTask(definition as never)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_TASK_INVALID',
        message: expect.stringMatching(message),
      }),
    )
  })
})
