import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { JobId, PeerId, SchedulerCore, SchedulerEvent } from '../scheduler/types.ts'
import { isSessionOf } from '../store/identity.ts'
import type { JobFinder } from './job-finder.ts'
import { MAX_INTRODUCTIONS } from './limits.ts'
import type { LogExchange } from './log-exchange.ts'
import type { Replication } from './replication.ts'
import { factsOf, type Roster } from './roster.ts'
import type { Topic, Transport } from './transport/types.ts'
import { type Advert, decodeAdvert } from './wire/advert.ts'
import { decodeMessage, decodeRuns, isOfNewerKind } from './wire/decode.ts'
import type { WireMessage } from './wire/messages.ts'

type Message<K extends WireMessage['kind']> = Extract<WireMessage, { kind: K }>

export interface RouterParts {
  readonly self: PeerId
  readonly version: string
  /** Something that this peer's user should see. */
  readonly warn: (message: string) => void
  readonly scheduler: SchedulerCore
  readonly replication: Replication
  readonly logExchange: LogExchange
  readonly finder: JobFinder
  readonly roster: Roster
  readonly transport: () => Transport | undefined
  readonly dispatch: (event: SchedulerEvent) => void
  readonly send: (to: PeerId, message: WireMessage) => boolean
  readonly acknowledged: (job: JobId, by: PeerId, held: boolean) => void
  readonly strike: (peer: PeerId, reason: string) => void
  readonly clock: (from: PeerId, ms: number) => void
  readonly log: Logger
}

/** Takes in what other peers say: decodes it, and hands each kind to who deals with it. False answers count against the sender. */
export class Router {
  private readonly parts: RouterParts

  constructor(parts: RouterParts) {
    this.parts = parts
  }

  onMessage(from: PeerId, bytes: Uint8Array): boolean {
    if (isOfNewerKind(bytes)) return true
    return this.guarded(from, () => this.route(from, decodeMessage(bytes)))
  }

  onGossip(topic: Topic, bytes: Uint8Array, via: PeerId): boolean {
    return this.guarded(via, () =>
      topic === 'adverts'
        ? this.takeAdvert(bytes)
        : this.parts.replication.receive(decodeRuns(bytes), via, false),
    )
  }

  /** Whatever a peer's bytes do in here, they never take this peer down. */
  private guarded(from: PeerId, work: () => boolean): boolean {
    try {
      return work()
    } catch (error) {
      // Only what breaks the protocol is the sender's fault; a fault of ours is not.
      if (!isMeshError(error, 'ERR_MESH_PROTOCOL')) {
        this.parts.log.error('a message could not be dealt with', { error: String(error) })
        return true
      }
      this.parts.strike(from, error.message)
      return false
    }
  }

  private route(from: PeerId, message: WireMessage): boolean {
    const { replication, logExchange } = this.parts
    switch (message.kind) {
      case 'hello':
        return this.onHello(from, message)
      case 'advert':
        return this.takeAdvert(message.bytes)
      case 'entries':
        return replication.receive(message.runs, from, true)
      case 'steal':
        return this.onSteal(from, message)
      case 'stealAnswer':
        return this.onStealAnswer(from, message)
      case 'lifeline':
        return this.onLifeline(from, message)
      case 'heads':
        replication.compareHeads(from, message.job, message.heads, message.reply)
        return true
      case 'pull':
        void replication.sendFeeds(from, message.job, message.feeds)
        return true
      case 'jobWanted':
        void replication.sendJob(from, message.job)
        return true
      case 'jobAck':
        this.parts.acknowledged(message.job, from, message.held)
        this.parts.dispatch({ type: 'jobAcknowledged', job: message.job, from })
        return true
      case 'heartbeat':
        this.parts.dispatch({ type: 'heartbeat', from, last: message.last })
        return true
      case 'suspect': {
        const { peer, session } = message
        this.parts.dispatch({ type: 'suspected', from, peer, session })
        return true
      }
      case 'logsWanted':
      case 'logs':
        logExchange.receive(from, message)
        return true
      case 'findJobs':
      case 'findNonce':
      case 'foundJobs':
        this.parts.finder.receive(from, message)
        return true
      case 'clock':
        this.parts.clock(from, message.ms)
        return true
    }
  }

  private onHello(from: PeerId, hello: Message<'hello'>): boolean {
    this.takeAdvert(hello.advert)
    if (hello.version !== this.parts.version) {
      const name = this.parts.roster.name(from)
      this.parts.warn(`peer ${name} runs version ${hello.version}, this one ${this.parts.version}`)
    }
    // A newer advert may have come by another way, before the link stood.
    const facts = this.parts.roster.facts(from)
    if (facts !== undefined) this.parts.dispatch({ type: 'peerSeen', facts })
    this.introduce(from, hello.advert)
    for (const job of hello.jobs) {
      if (this.parts.replication.isCollected(job)) continue
      if (this.parts.replication.knows(job)) this.parts.replication.sendHeads(from, job, true)
      else this.parts.send(from, { kind: 'jobWanted', job })
    }
    return true
  }

  /** Tells a newcomer of the peers here, and them of it, so that nobody waits for gossip to find the others. */
  private introduce(newcomer: PeerId, advert: Uint8Array): void {
    const others = (this.parts.transport()?.connected() ?? []).filter((peer) => peer !== newcomer)
    for (const peer of others.slice(0, MAX_INTRODUCTIONS)) {
      const bytes = this.parts.roster.bytes(peer)
      if (bytes !== undefined) this.parts.send(newcomer, { kind: 'advert', bytes })
      this.parts.send(peer, { kind: 'advert', bytes: advert })
    }
  }

  private onSteal(from: PeerId, message: Message<'steal'>): boolean {
    const { session, job, nonce, rate, idle, head } = message
    this.parts.replication.peerHas(from, job, head)
    this.parts.dispatch({ type: 'stealRequested', from, session, job, nonce, rate, idle })
    return true
  }

  private onStealAnswer(from: PeerId, message: Message<'stealAnswer'>): boolean {
    const clean = this.parts.replication.receive(message.runs, from, true)
    const { job, nonce, granted, running } = message
    this.parts.dispatch({ type: 'stealAnswered', from, job, nonce, granted, running })
    return clean
  }

  private onLifeline(from: PeerId, message: Message<'lifeline'>): boolean {
    const { session, job, rate, idle } = message
    this.parts.dispatch({ type: 'lifelineReceived', from, session, job, rate, idle })
    return true
  }

  private takeAdvert(bytes: Uint8Array): boolean {
    const advert: Advert = decodeAdvert(bytes)
    if (!isSessionOf(advert.session, advert.peer)) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'advert with the session of another peer')
    }
    if (advert.peer === this.parts.self || !this.parts.roster.learn(advert, bytes)) return true
    const transport = this.parts.transport()
    const facts = factsOf(advert)
    if (transport?.connection(advert.peer) === undefined) {
      transport?.learn(advert.peer, advert.addresses)
      this.parts.dispatch({ type: 'peerHeard', facts })
    } else this.parts.dispatch({ type: 'peerSeen', facts })
    return true
  }
}
