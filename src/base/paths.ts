import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * Where a peer keeps its identity, its mesh's key, log and results when nothing else is said: `$MESH_DATA`, else `meshwork` in
 * `$XDG_DATA_HOME` (`~/.local/share`), on Windows in `%LOCALAPPDATA%`.
 */
export function defaultDataDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MESH_DATA !== undefined && env.MESH_DATA !== '') return env.MESH_DATA
  if (process.platform === 'win32') {
    return join(env.LOCALAPPDATA || join(homedir(), 'AppData', 'Local'), 'meshwork')
  }
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'meshwork')
}
