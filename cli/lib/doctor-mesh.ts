/** What a peer that runs here says of itself, whether one could be reached, and what kernels run on. Pure, as doctor-machine.ts. */
import type { GpuFound } from '../../src/gpu/types.ts'
import type { MeshStatus } from '../../src/node/types.ts'
import type { MachineFacts } from './doctor-facts.ts'
import { type Finding, finding, type Looked } from './doctor-finding.ts'
import { formatBytes, formatDuration, plural, printable } from './format.ts'
import { gpuText, gpuTransferText } from './gpu.ts'

/** A peer answers its control socket and its heartbeats from one loop: later than this, others notice. */
const SLOW_LOOP_MS = 500
const ADDRESSES_SHOWN = 3
const ON_THE_CPU = 'Kernels run on the CPU here (webasm).'

/** In the order in which they are shown. */
export function meshFindings(looked: Looked): Finding[] {
  return [...network(looked), ...peer(looked), gpu(looked)]
}

// ---------------------------------------------------------------- the network

function network({ facts, peer }: Looked): Finding[] {
  const { addresses, listenError, mdnsError } = facts.network
  if (peer !== undefined) return [listening(peer, facts)]
  if (listenError !== undefined) {
    return [
      finding(
        'network',
        'problem',
        `cannot listen on a port: ${printable(listenError, 200)}`,
        'A peer must, so that others reach it.',
        'look at what forbids it: a sandbox, a security module, a container without a network',
      ),
    ]
  }
  if (addresses.length === 0) {
    return [
      finding(
        'network',
        'warning',
        'no address but loopback',
        'Only peers on this machine itself can be in its mesh.',
        'connect it to a network, or forward a port and name it: mesh join --announce /ip4/ADDRESS/tcp/PORT',
      ),
    ]
  }
  const found = `can listen; addresses ${some(addresses)}`
  if (mdnsError === undefined) return [finding('network', 'ok', found)]
  return [
    finding(
      'network',
      'warning',
      `${found}; port 5353 (mDNS): ${printable(mdnsError, 200)}`,
      'Peers on the same network do not find each other by themselves.',
      'join with a ticket, which needs no mDNS, and silence it with --no-mdns; or end what holds the port alone',
    ),
  ]
}

function listening({ addresses }: MeshStatus, { network }: MachineFacts): Finding {
  const found =
    addresses.length === 0 ? 'the peer listens nowhere' : `the peer listens on ${some(addresses)}`
  if (addresses.some((address) => !/^\/ip4\/127\.|^\/ip6\/::1\//.test(address))) {
    return finding('network', 'ok', found)
  }
  return finding(
    'network',
    'warning',
    found,
    'Other machines cannot reach it there; it can still reach them.',
    network.addresses.length === 0
      ? 'connect this machine to a network'
      : 'start it without --listen, or with one of its other addresses: mesh join --listen /ip4/0.0.0.0/tcp/4001',
  )
}

function some(all: readonly string[]): string {
  const more = all.length - ADDRESSES_SHOWN
  return all.slice(0, ADDRESSES_SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

// ---------------------------------------------------------------- the peer

function peer({ peer, peerError, version }: Looked): Finding[] {
  if (peerError !== undefined) {
    return [
      finding(
        'peer',
        'problem',
        `one seems to run on this folder, but does not answer: ${printable(peerError, 300)}`,
        'Commands cannot talk to it.',
        'see whether its process hangs or is stopped; end it and start it again with mesh join',
      ),
    ]
  }
  if (peer === undefined) {
    return [finding('peer', 'ok', 'none runs on this folder; `mesh join` starts one')]
  }
  const { peer: self, mesh, peers, pid, uptimeSeconds } = peer
  const name = `${self.short} ${printable(self.name, 64)}`
  const found = `${name} runs (process ${pid}, up ${formatDuration(uptimeSeconds)}) in mesh ${mesh} with ${plural(peers, 'other peer')}`
  return [
    peer.version === version
      ? finding('peer', 'ok', found)
      : finding(
          'peer',
          'warning',
          `${found}; it is meshwork ${printable(peer.version, 32)}, this command ${version}`,
          'The two may not understand each other in everything.',
          'start the peer again with the version that is installed now: mesh leave, then mesh join',
        ),
    ...busyLoop(peer),
    ...peer.warnings.map((text) =>
      finding('peer', 'warning', printable(text, 300), 'The peer says so itself: see mesh status.'),
    ),
    ...peer.strikes.map(({ peer: id, reason, count }) =>
      finding(
        'peer',
        'warning',
        `${id.slice(0, 8)} broke the rules: ${count} x ${printable(reason, 100)}`,
        'What it sent was refused. It may run another version, or be damaged.',
        'see the version of that peer in mesh peers --json',
      ),
    ),
  ]
}

function busyLoop({ loopDelayMs: { p99 } }: MeshStatus): Finding[] {
  if (p99 < SLOW_LOOP_MS) return []
  return [
    finding(
      'peer',
      'warning',
      `its process is late by ${formatDuration(p99 / 1000)} at times`,
      'It gets too little time of the processor: others may take it for lost.',
      'lend a core less than there are, or end what else uses them',
    ),
  ]
}

// ---------------------------------------------------------------- GPU

function gpu({ gpu, gpuError, peer }: Looked): Finding {
  if (gpu === undefined) {
    return finding(
      'gpu',
      'warning',
      `the probe failed: ${printable(gpuError ?? 'it was not run', 200)}`,
      ON_THE_CPU,
    )
  }
  const reason = printable(gpu.reason, 300)
  if (gpu.state !== 'none' && reason === '') return working(gpu, gpu.state, peer)
  const name = gpu.name === '' ? 'none' : printable(gpu.name, 100)
  const found = (reason === '' ? name : `${name}: ${reason}`) + others(gpu)
  if (gpu.broken === true) {
    return finding(
      'gpu',
      'problem',
      found,
      'No kernel runs here, on the CPU neither.',
      ...gpu.advice,
    )
  }
  // With an adapter there is one that is not used.
  const level = gpu.adapters.length > 0 ? 'warning' : 'ok'
  return finding('gpu', level, found, ON_THE_CPU, ...gpu.advice)
}

function working(
  gpu: GpuFound,
  state: 'hardware' | 'software',
  peer: MeshStatus | undefined,
): Finding {
  const { gflops, upMBs, downMBs } = gpu
  const facts = { name: gpu.name, state, gflops, upMBs, downMBs }
  const buffers = `buffers up to ${formatBytes(gpu.maxBufferBytes)}`
  const found = `${gpuText(facts, 100)}, ${gpuTransferText(facts)}, ${buffers}${others(gpu)}`
  if (state === 'software') {
    const means =
      'It computes on the CPU, slower than webasm does: it is used only where --gpu-device names it.'
    return finding('gpu', 'ok', found, means, ...gpu.advice)
  }
  if (peer !== undefined && peer.peer.gpu === null) {
    return finding(
      'gpu',
      'warning',
      `${found}; the peer that runs does not use it`,
      'It was started with --gpu off, or before the GPU could be used.',
      'start it again: mesh leave, then mesh join',
    )
  }
  return finding('gpu', 'ok', found)
}

/** What --gpu-device chooses from; one adapter is named already where it works. */
function others({ adapters, state }: GpuFound): string {
  if (adapters.length === 0 || (adapters.length === 1 && state !== 'none')) return ''
  return `; adapters: ${printable(some(adapters), 300)}`
}
