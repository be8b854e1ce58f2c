/** One peer from its router down to its store; transport and workers are played. */
import { expect } from 'vitest'
import type { Logger } from '../../../src/base/logger.ts'
import { Engine, type EnginePorts } from '../../../src/node/engine.ts'
import { LogExchange } from '../../../src/node/log-exchange.ts'
import { LogRings } from '../../../src/node/log-rings.ts'
import { Replication, type ReplicationParts } from '../../../src/node/replication.ts'
import { Roster } from '../../../src/node/roster.ts'
import { Router, type RouterParts } from '../../../src/node/router.ts'
import { encodeMessage } from '../../../src/node/wire/encode.ts'
import type { WireMessage } from '../../../src/node/wire/messages.ts'
import { Scheduler } from '../../../src/scheduler/scheduler.ts'
import type { PeerId, SchedulerEvent } from '../../../src/scheduler/types.ts'
import { seal } from '../../../src/store/entry-codec.ts'
import { readForkProof } from '../../../src/store/fork-proof.ts'
import { createMemoryStore } from '../../../src/store/memory-store.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import { peerOf, sessionOf } from '../store/writers.ts'
import { HostileMesh, ITEMS } from './hostile-mesh.ts'
import type { Random } from './random.ts'

/** Parts that grow with the code: whatever is not given here does nothing. */
function withDefaults<T extends object>(parts: Partial<T>): T {
  const nothing = () => undefined
  return new Proxy(parts, {
    get: (target, name) => (name in target ? target[name as keyof T] : nothing),
  }) as T
}

export class PeerUnderTest {
  readonly faults: string[] = []
  readonly scheduler: Scheduler
  readonly engine: Engine
  readonly router: Router
  readonly mesh: HostileMesh
  readonly sent = new Map<string, number>()
  private readonly who = peerOf('victim')
  private readonly session = sessionOf('victim')

  constructor(random: Random) {
    const { peer } = this.who
    const self = { author: peer, session: this.session }
    this.mesh = new HostileMesh(random, self)
    const verify = createVerifier()
    this.scheduler = new Scheduler({
      self: { peer, session: this.session, sessionNumber: 1, slots: 2, speed: 1 },
      seal,
      random: () => random.int(1_000) / 1_000,
      readFork: (first, second) => readForkProof(first, second, verify),
    })
    const store = createMemoryStore({ self: peer, sign: this.who.sign })
    this.engine = new Engine(this.scheduler, store)
    const dispatch = (event: SchedulerEvent) => this.engine.dispatch(event)
    const send = (_to: PeerId, message: WireMessage) => {
      // What goes out is within the protocol, whatever came in.
      encodeMessage(message)
      this.sent.set(message.kind, (this.sent.get(message.kind) ?? 0) + 1)
      return true
    }
    const log = this.log()
    const { scheduler } = this
    const replication = new Replication(
      withDefaults<ReplicationParts>({ store, scheduler, self, dispatch, send, log }),
    )
    const roster = new Roster(() => this.engine.now())
    const logExchange = new LogExchange({
      rings: new LogRings(),
      send,
      connected: () => [],
      isRunning: () => true,
    })
    this.router = new Router(
      withDefaults<RouterParts>({
        self: peer,
        scheduler,
        replication,
        logExchange,
        finder: withDefaults<RouterParts['finder']>({}),
        roster,
        dispatch,
        send,
        log,
      }),
    )
    this.engine.attach(this.ports(replication, random))
  }

  private log(): Logger {
    const told = (message: string, details?: object) => {
      this.faults.push(`${message} ${JSON.stringify(details)}`)
    }
    const log = withDefaults<Logger>({ error: told, warn: told })
    return Object.assign(log, { child: () => log })
  }

  private ports(replication: Replication, random: Random): EnginePorts {
    const later = (event: SchedulerEvent) => void setImmediate(() => this.engine.dispatch(event))
    return withDefaults<EnginePorts>({
      push: (to, job) => void replication.push(to, job),
      publish: (job) => void replication.publish(job),
      answerSteal: ({ type: _, to, ...answer }) => void replication.answerSteal(to, answer),
      startChunk: ({ chunk, lo, hi }) => {
        const reached = random.oneIn(3) ? lo + Math.ceil((hi - lo) / 2) : hi
        const inline = new Uint8Array(1)
        const ended = { chunk, reached, failed: 0, elapsedMs: 5, outputBytes: 1 }
        later({ type: 'chunkEnded', ...ended, ...(random.oneIn(3) ? {} : { inline }) })
      },
      placeResult: ({ chunk }) => {
        const result = { kind: 'inline', bytes: new Uint8Array(1) } as const
        later({ type: 'chunkPlaced', chunk, result })
      },
      viewChanged: ({ job, ownersPut, donePut }) => {
        for (const { hash } of [...ownersPut, ...donePut]) this.mesh.saw(hash)
        void job
      },
      writeFailed: (error) => this.faults.push(`write failed: ${String(error)}`),
    })
  }

  /** The books add up, whoever wrote in them. */
  check(): void {
    for (const view of this.scheduler.jobs()) {
      expect(view.items).toBe(ITEMS)
      expect(view.done).toBeLessThanOrEqual(ITEMS)
      expect(view.failed).toBeGreaterThanOrEqual(0)
      expect(view.failed).toBeLessThanOrEqual(view.done)
      expect(view.mine).toBeGreaterThanOrEqual(0)
      let at = 0
      for (const { lo, hi, originLo } of this.scheduler.doneSpans(view.job)) {
        expect(lo).toBeGreaterThanOrEqual(at)
        expect(hi).toBeGreaterThan(lo)
        expect(originLo).toBeLessThanOrEqual(lo)
        at = hi
      }
      expect(at).toBeLessThanOrEqual(ITEMS)
    }
  }
}
