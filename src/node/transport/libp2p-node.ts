import './polyfill.ts'
import { gossipsub, StrictNoSign } from '@chainsafe/libp2p-gossipsub'
import { bootstrap } from '@libp2p/bootstrap'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { type Identify, identify } from '@libp2p/identify'
import type {
  ComponentLogger,
  ConnectionEncrypter,
  ConnectionGater,
  Libp2p,
  Logger,
} from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import { noise } from '@libp2p/noise'
import { type Ping, ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { createHash } from 'node:crypto'
import { sha256Hex, toHex } from '../../base/bytes.ts'
import { MAX_INBOUND_TRANSFERS } from './limits.ts'
import * as limits from './limits.ts'
import type { Topic, TransportOptions } from './types.ts'
