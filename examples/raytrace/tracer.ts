import { CAMERA, LAMP, SPHERES } from './scene.ts'

export interface Picture {
  readonly width: number
  readonly height: number
  /** Samples a pixel; a square number. */
  readonly samples: number
  /** Side of a tile in pixels; those at the right and lower edge may be smaller. */
  readonly tile: number
}

export interface Tile {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

const MAX_BOUNCES = 4
const FAR = 1e9
const NUDGE = 1e-4

export function tileCount(picture: Picture): number {
  const { width, height, tile } = picture
  return Math.ceil(width / tile) * Math.ceil(height / tile)
}

/** Where tile `index` lies in the picture, row by row. */
export function tileAt(picture: Picture, index: number): Tile {
  const columns = Math.ceil(picture.width / picture.tile)
  const x = (index % columns) * picture.tile
  const y = Math.floor(index / columns) * picture.tile
  return {
    x,
    y,
    width: Math.min(picture.tile, picture.width - x),
    height: Math.min(picture.tile, picture.height - y),
  }
}

// The state of one ray at a time lives in module variables: no allocation in the inner loops.
let seed = 1
let hitDistance = FAR
let hitSphere = -1
let red = 0
let green = 0
let blue = 0

const xs = Float64Array.from(SPHERES, (s) => s.x)
const ys = Float64Array.from(SPHERES, (s) => s.y)
const zs = Float64Array.from(SPHERES, (s) => s.z)
const radii2 = Float64Array.from(SPHERES, (s) => s.radius * s.radius)

/** mulberry32: uniform in [0, 1), the same everywhere for the same seed. */
function random(): number {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

/** Nearest sphere along a ray, into hitDistance and hitSphere (-1: none). */
function findSphere(ox: number, oy: number, oz: number, dx: number, dy: number, dz: number): void {
  hitDistance = FAR
  hitSphere = -1
  for (let i = 0; i < xs.length; i++) {
    const cx = xs[i]! - ox
    const cy = ys[i]! - oy
    const cz = zs[i]! - oz
    const along = cx * dx + cy * dy + cz * dz
    if (along <= 0) continue
    const inside = radii2[i]! - (cx * cx + cy * cy + cz * cz - along * along)
    if (inside <= 0) continue
    const distance = along - Math.sqrt(inside)
    if (distance > NUDGE && distance < hitDistance) {
      hitDistance = distance
      hitSphere = i
    }
  }
}

/** Adds the sky's light along a ray, warm at the horizon and blue above, times a weight. */
function addSky(dx: number, dy: number, dz: number, weight: number): void {
  const up = Math.max(dy, 0)
  const low = (1 - up) * (1 - up)
  const haze = low * low
  // A broad glow where the lamp hangs.
  const sun = Math.max(0, (dx * LAMP.x + dy * LAMP.y + dz * LAMP.z) / 11.46)
  const glow = sun ** 2 * sun ** 2 * sun ** 2 * sun ** 2 * 0.9
  red += weight * (0.06 + 1.05 * haze + glow)
  green += weight * (0.15 + 0.5 * haze + glow * 0.9)
  blue += weight * (0.42 + 0.16 * haze + glow * 0.7)
}

/** 1 when a random point of the lamp sees the point, else 0. */
function lampSees(px: number, py: number, pz: number): number {
  let jx = 0
  let jy = 0
  let jz = 0
  do {
    jx = 2 * random() - 1
    jy = 2 * random() - 1
    jz = 2 * random() - 1
  } while (jx * jx + jy * jy + jz * jz > 1)
  const lx = LAMP.x + LAMP.radius * jx - px
  const ly = LAMP.y + LAMP.radius * jy - py
  const lz = LAMP.z + LAMP.radius * jz - pz
  const length = Math.sqrt(lx * lx + ly * ly + lz * lz)
  findSphere(px, py, pz, lx / length, ly / length, lz / length)
  return hitSphere >= 0 && hitDistance < length ? 0 : 1
}

/** Follows one ray through its reflections and adds what it sees to red, green, blue. */
function trace(ox: number, oy: number, oz: number, dx: number, dy: number, dz: number): void {
  let weight = 1
  for (let bounce = 0; bounce <= MAX_BOUNCES; bounce++) {
    findSphere(ox, oy, oz, dx, dy, dz)
    const floor = dy < -1e-6 ? -oy / dy : FAR
    const onFloor = floor < hitDistance
    if (!onFloor && hitSphere < 0) {
      addSky(dx, dy, dz, weight)
      return
    }
    const distance = onFloor ? floor : hitDistance
    const px = ox + dx * distance
    const py = onFloor ? 0 : oy + dy * distance
    const pz = oz + dz * distance
    let nx = 0
    let ny = 1
    let nz = 0
    let cr = 0
    let cg = 0
    let cb = 0
    let mirror = 0
    if (onFloor) {
      const dark = ((Math.floor(px * 0.9) + Math.floor(pz * 0.9)) & 1) === 0
      cr = dark ? 0.055 : 0.62
      cg = dark ? 0.065 : 0.58
      cb = dark ? 0.1 : 0.52
      mirror = 0.09
      // The far floor drowns in the haze, so that the checks do not flicker at the horizon.
      const haze = distance / (distance + 55)
      const before = weight
      weight *= 1 - haze * haze
      addSky(dx, 0, dz, before - weight)
    } else {
      const hit = SPHERES[hitSphere]!
      nx = (px - hit.x) / hit.radius
      ny = (py - hit.y) / hit.radius
      nz = (pz - hit.z) / hit.radius
      cr = hit.red
      cg = hit.green
      cb = hit.blue
      mirror = hit.mirror
    }
    const facing = Math.max(0, -(nx * dx + ny * dy + nz * dz))
    const grazing = (1 - facing) ** 2
    const reflected = mirror + (1 - mirror) * grazing * grazing * (1 - facing)
    shade(px, py, pz, nx, ny, nz, dx, dy, dz, cr, cg, cb, weight * (1 - reflected), weight)
    weight *= reflected
    if (weight < 0.01) return
    const turn = 2 * (nx * dx + ny * dy + nz * dz)
    dx -= turn * nx
    dy -= turn * ny
    dz -= turn * nz
    ox = px + nx * NUDGE
    oy = py + ny * NUDGE
    oz = pz + nz * NUDGE
  }
}

/** Adds the light a surface point sends back by itself: the sky's from its side, the lamp's, and a highlight. */
function shade(
  px: number,
  py: number,
  pz: number,
  nx: number,
  ny: number,
  nz: number,
  dx: number,
  dy: number,
  dz: number,
  cr: number,
  cg: number,
  cb: number,
  diffuse: number,
  gloss: number,
): void {
  const sky = 0.5 + 0.5 * ny
  let lr = 0.05 + 0.17 * sky
  let lg = 0.05 + 0.19 * sky
  let lb = 0.06 + 0.3 * sky
  const tx = LAMP.x - px
  const ty = LAMP.y - py
  const tz = LAMP.z - pz
  const far = Math.sqrt(tx * tx + ty * ty + tz * tz)
  const cosine = (nx * tx + ny * ty + nz * tz) / far
  if (cosine > 0 && lampSees(px + nx * NUDGE, py + ny * NUDGE, pz + nz * NUDGE) === 1) {
    lr += LAMP.red * cosine
    lg += LAMP.green * cosine
    lb += LAMP.blue * cosine
    // Blinn's highlight with exponent 64, by squaring.
    const hx = tx / far - dx
    const hy = ty / far - dy
    const hz = tz / far - dz
    let shine = (nx * hx + ny * hy + nz * hz) / Math.sqrt(hx * hx + hy * hy + hz * hz)
    for (let i = 0; i < 6; i++) shine *= shine
    const highlight = (ny === 1 ? 0.05 : 0.55) * shine * gloss
    red += highlight
    green += highlight
    blue += highlight
  }
  red += diffuse * cr * lr
  green += diffuse * cg * lg
  blue += diffuse * cb * lb
}

/** Linear light to a byte: rolls off highlights, then a gamma of 2. */
function toByte(light: number): number {
  const toned = (light * (1 + light * 0.3)) / (1 + light * 0.62)
  return Math.min(255, Math.floor(Math.sqrt(toned) * 256))
}

/** Paints tile `index`: RGB bytes, row by row. */
export function renderTile(picture: Picture, index: number): Uint8Array {
  const { width, height } = picture
  const area = tileAt(picture, index)
  const pixels = new Uint8Array(area.width * area.height * 3)
  const grid = Math.max(1, Math.round(Math.sqrt(picture.samples)))
  const tilt = 1 / Math.sqrt(1 + CAMERA.pitch * CAMERA.pitch)
  let at = 0
  for (let y = area.y; y < area.y + area.height; y++) {
    for (let x = area.x; x < area.x + area.width; x++) {
      // Seeded by the pixel, so that a picture does not depend on how it was cut into tiles.
      seed = Math.imul(y * width + x + 1, 0x9e3779b1)
      red = green = blue = 0
      for (let sample = 0; sample < grid * grid; sample++) {
        const sx = x + ((sample % grid) + random()) / grid
        const sy = y + (Math.floor(sample / grid) + random()) / grid
        const vx = (2 * sx - width) / height
        const vy = (height - 2 * sy) / height
        // Tilt the view down by the pitch, then normalise.
        const fy = (vy + CAMERA.focal * CAMERA.pitch) * tilt
        const fz = (CAMERA.focal - vy * CAMERA.pitch) * tilt
        const length = Math.sqrt(vx * vx + fy * fy + fz * fz)
        trace(CAMERA.x, CAMERA.y, CAMERA.z, vx / length, fy / length, fz / length)
      }
      const share = 1 / (grid * grid)
      pixels[at++] = toByte(red * share)
      pixels[at++] = toByte(green * share)
      pixels[at++] = toByte(blue * share)
    }
  }
  return pixels
}
