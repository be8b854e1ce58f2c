/** Structured logging: one child per component, ids short, no secrets. */
export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
  child(component: string): Logger
}

const LEVELS = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 } as const
export type LogLevel = keyof typeof LEVELS

/** Writes one JSON line an event to `write` (stderr by default), from `level` up. */
export function createLogger(
  level: LogLevel = 'warn',
  component = 'mesh',
  write: (line: string) => void = (line) => process.stderr.write(line),
): Logger {
  const emit =
    (name: Exclude<LogLevel, 'silent'>) =>
    (message: string, fields: Record<string, unknown> = {}): void => {
      if (LEVELS[name] < LEVELS[level]) return
      const record = { time: new Date().toISOString(), level: name, component, message, ...fields }
      write(`${JSON.stringify(record)}\n`)
    }
  return {
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    child: (name) => createLogger(level, `${component}.${name}`, write),
  }
}

export const silentLogger: Logger = createLogger('silent')
