/** Imported before anything of libp2p, which calls Promise.withResolvers: Node 20 has none. */

interface Resolvers {
  promise: Promise<unknown>
  resolve: (value: unknown) => void
  reject: (reason: unknown) => void
}

const promises = Promise as unknown as { withResolvers?: () => Resolvers }

promises.withResolvers ??= function withResolvers(): Resolvers {
  const resolvers = {} as Resolvers
  resolvers.promise = new Promise((resolve, reject) => {
    resolvers.resolve = resolve
    resolvers.reject = reject
  })
  return resolvers
}

export {}
