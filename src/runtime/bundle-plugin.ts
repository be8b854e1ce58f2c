/** What our bundles do differently from esbuild's own: `meshwork` becomes a stub, native addons are refused. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Plugin } from 'esbuild'
import { taskStubSource } from './task-stub.ts'

/** Marks the error of a native addon among esbuild's, by its first words. */
export const NATIVE_ADDON = 'native addon'

/** Packages that do nothing but find and load a native addon. */
const ADDON_LOADERS =
  /^(bindings|node-gyp-build|node-gyp-build-optional-packages|@mapbox\/node-pre-gyp|prebuild-install|node-addon-loader|pkg-prebuilds)$/
const STUB = 'meshwork-stub'
const REFUSED = 'meshwork-native'

/** Our own entry, as a program inside this repository may import it by path. */
const OWN_INDEX = ['../index.ts', '../index.js'].map((it) =>
  fileURLToPath(new URL(it, import.meta.url)),
)

export const bundlePlugin: Plugin = {
  name: 'meshwork',
  setup(build) {
    build.onResolve({ filter: /^meshwork(\/.*)?$/ }, () => ({ path: 'meshwork', namespace: STUB }))
    build.onLoad({ filter: /.*/, namespace: STUB }, () => ({
      contents: taskStubSource,
      loader: 'js',
    }))
    // Not by its own path: beside a package.json of ES modules the stub would be read as one.
    build.onResolve({ filter: /[\\/]src[\\/]index\.[jt]s$/ }, ({ path, resolveDir }) =>
      OWN_INDEX.includes(resolve(resolveDir, path)) ? { path: 'meshwork', namespace: STUB } : null,
    )
    build.onResolve({ filter: ADDON_LOADERS }, ({ path }) => ({ path, namespace: REFUSED }))
    build.onResolve({ filter: /\.node$/ }, ({ path, kind }) =>
      kind === 'import-statement'
        ? { errors: [{ text: `${NATIVE_ADDON} ${path}` }] }
        : { path, namespace: REFUSED },
    )
    build.onLoad({ filter: /\.node$/, namespace: 'file' }, ({ path }) => refuse(path))
    build.onLoad({ filter: /.*/, namespace: REFUSED }, ({ path }) => refuse(path))
  },
}

/** A require() of an addon may stand in a try with a fallback, so it fails when it is called or loaded, not here. */
function refuse(path: string): { contents: string; loader: 'js' } {
  const message = JSON.stringify(
    `${NATIVE_ADDON} ${path}: compiled code does not run on every peer, and tasks cannot carry it`,
  )
  const fail = `throw Object.assign(new Error(${message}), { code: "ERR_MESH_TASK_NATIVE_ADDON" })`
  return path.endsWith('.node')
    ? { contents: `${fail};module.exports = {}`, loader: 'js' }
    : { contents: `module.exports = function () { ${fail} }`, loader: 'js' }
}
