import { defineKernel } from 'meshwork'

const BODIES = 4096

/**
 * One step of bodies that attract each other. `state` has six numbers for each body, place (x, y, z) and velocity (x, y, z), and so has
 * the result: hand it to the next step. Each output is one of the six, so that all of them are computed at once.
 */
export function step(state: Float32Array, { mass = 1 / (state.length / 6), time = 0.01 } = {}) {
  const bodies = state.length / 6
  return defineKernel({
    name: `n-body ${bodies}`,
    output: [6, bodies],
    // Softened: else two bodies that meet would be thrown out of any picture.
    constants: { bodies, mass, time, soft: 0.0025 },
    args: [{ data: state, size: [6, bodies] }],
    loopMaxIterations: bodies,
    tolerance: { absolute: 1e-4, relative: 1e-4 },
    kernel: function (state) {
      const body = this.thread.y
      let axis = this.thread.x
      if (axis > 2) axis = axis - 3
      const speed = axis + 3
      const x = state[body][0]
      const y = state[body][1]
      const z = state[body][2]
      const here = state[body][axis]
      let pull = 0
      for (let other = 0; other < this.constants.bodies; other++) {
        const dx = state[other][0] - x
        const dy = state[other][1] - y
        const dz = state[other][2] - z
        const square = dx * dx + dy * dy + dz * dz + this.constants.soft
        pull += (state[other][axis] - here) / (square * Math.sqrt(square))
      }
      const velocity = state[body][speed] + pull * this.constants.mass * this.constants.time
      if (this.thread.x > 2) return velocity
      return here + velocity * this.constants.time
    },
  })
}

/** Two discs that turn, and pass each other. The masses of all bodies are 1 together. */
export function discs(bodies: number): Float32Array {
  const state = new Float32Array(6 * bodies)
  for (let body = 0; body < bodies; body++) {
    const side = body % 2 === 0 ? 1 : -1
    // As much mass in each ring of the same width (a Mestel disc): all of it turns at one speed.
    const radius = (body + 1) / bodies
    const angle = body * Math.PI * (3 - Math.sqrt(5))
    const speed = Math.sqrt((0.5 * radius) / Math.hypot(radius, 0.1))
    const place = [
      1.2 * side + radius * Math.cos(angle),
      0.7 * side + radius * Math.sin(angle),
      0.03 * Math.sin(body),
    ]
    const velocity = [-0.35 * side - speed * Math.sin(angle), speed * Math.cos(angle), 0]
    state.set([...place, ...velocity], 6 * body)
  }
  return state
}

/** The logarithm of how many bodies are seen in each cell of a picture of the square from -2.5 to 2.5. */
export function crowd(state: Float32Array, side: number) {
  const data = new Float32Array(side * side)
  for (let body = 0; body < state.length / 6; body++) {
    const x = Math.floor((state[6 * body]! / 5 + 0.5) * side)
    const y = Math.floor((0.5 - state[6 * body + 1]! / 5) * side)
    if (x >= 0 && x < side && y >= 0 && y < side) data[y * side + x]! += 1
  }
  return { data: data.map((count) => Math.log2(1 + count)), size: [side, side] as const }
}

export default step(discs(BODIES))
