/** Levels in rising order of weight. */
export type Level = "debug" | "info" | "warn" | "error";

const weight: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Structured logging: a message in the active voice and fields that name the subjects. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** A logger that adds these fields to each line. */
  with(fields: Record<string, unknown>): Log;
}

export interface LogOptions {
  /** Lines below it are dropped; "info" where not given. */
  level?: Level;
  /** "text" for people (the default), "json" for programs: one object a line. */
  format?: "text" | "json";
  /** Takes each finished line, without its newline; standard error where not given. */
  write?: (line: string) => void;
}

/** Makes a logger; see {@link LogOptions}. */
export function createLog(options: LogOptions = {}, base: Record<string, unknown> = {}): Log {
  const least = weight[options.level ?? "info"];
  const write = options.write ?? ((line: string) => void process.stderr.write(`${line}\n`));
  const emit = (level: Level, message: string, fields: Record<string, unknown> = {}) => {
    if (weight[level] < least) return;
    const time = new Date().toISOString();
    const all = { ...base, ...fields };
    if (options.format === "json") {
      write(JSON.stringify({ time, level, message, ...all }));
      return;
    }
    const pairs = Object.entries(all).map(([key, value]) => ` ${key}=${textOf(value)}`);
    write(`${time} ${level.padEnd(5)} ${message}${pairs.join("")}`);
  };
  return {
    debug: (message, fields) => emit("debug", message, fields),
    info: (message, fields) => emit("info", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    error: (message, fields) => emit("error", message, fields),
    with: (fields) => createLog(options, { ...base, ...fields }),
  };
}

/** A logger that drops everything. */
export const silentLog: Log = createLog({ write: () => {} });

function textOf(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
