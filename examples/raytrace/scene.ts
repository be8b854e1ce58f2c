/**
 * The scene: a chrome sphere among glossy ones, on a checkered floor, under a warm sky. Only `+ - * /` and square roots are
 * used here and in tracer.ts: they are exact in IEEE 754, so every machine and every Node version paints the same bytes.
 */
export interface Sphere {
  readonly x: number
  readonly y: number
  readonly z: number
  readonly radius: number
  /** Linear colour. */
  readonly red: number
  readonly green: number
  readonly blue: number
  /** Share of light reflected straight back, 0..1; grazing rays reflect more. */
  readonly mirror: number
}

/** The golden angle, so that a spiral of spheres never lines up. */
const TURN_COS = -0.7373688780783197
const TURN_SIN = 0.6754902942615238

const PALETTE = ['ff5d5d', 'ffc04d', '3ec1d3', '22b07d', '6c4bd8', 'f07fc1', 'f4f1e8', '2f6fdf']

/** sRGB hex to linear light, with a gamma of 2. */
function linear(hex: string): [number, number, number] {
  const channel = (at: number): number => (Number.parseInt(hex.slice(at, at + 2), 16) / 255) ** 2
  return [channel(0), channel(2), channel(4)]
}

function sphere(x: number, z: number, radius: number, hex: string, mirror: number): Sphere {
  const [red, green, blue] = linear(hex)
  return { x, y: radius, z, radius, red, green, blue, mirror }
}

function touches(a: Sphere, b: Sphere): boolean {
  const gap = a.radius + b.radius + 0.06
  return (a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2 < gap * gap
}

function buildSpheres(): Sphere[] {
  const spheres = [
    sphere(0, 0.3, 1.55, 'f2f4f8', 0.86),
    sphere(2.75, -1.1, 0.85, 'ffb02e', 0.45),
    sphere(-2.6, -0.9, 0.95, 'd8344a', 0.14),
    sphere(-0.95, -2.7, 0.5, '2f6fdf', 0.2),
    sphere(1.15, -2.85, 0.42, '22b07d', 0.2),
  ]
  let cos = 1
  let sin = 0
  for (let i = 1; i <= 90; i++) {
    ;[cos, sin] = [cos * TURN_COS - sin * TURN_SIN, cos * TURN_SIN + sin * TURN_COS]
    const distance = 0.82 * Math.sqrt(i) + 0.9
    const radius = 0.14 + 0.028 * (i % 7) + 0.001 * i
    const next = sphere(distance * cos, distance * sin, radius, PALETTE[i % PALETTE.length]!, 0.1)
    if (next.z > -4.2 && !spheres.some((other) => touches(next, other))) spheres.push(next)
  }
  return spheres
}

export const SPHERES: readonly Sphere[] = buildSpheres()

export const CAMERA = { x: 0.35, y: 3.3, z: -8.9, focal: 2.25, pitch: -0.27 }

/** A round lamp: shadows have soft edges because each sample aims at another point of it. */
export const LAMP = { x: -6.5, y: 8, z: -5, radius: 1.3, red: 1.75, green: 1.5, blue: 1.15 }
