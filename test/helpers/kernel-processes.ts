import { execFileSync } from 'node:child_process'

/** Processes of this one that compute kernels. */
export function kernelProcesses(backend: 'webasm' | 'webgpu' = 'webasm'): number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args=']).toString().split('\n')
  return lines.flatMap((line) => {
    const [pid, ppid, ...args] = line.trim().split(/\s+/)
    const isOurs = Number(ppid) === process.pid && args.includes(backend)
    return isOurs ? [Number(pid)] : []
  })
}
