// Who may import whom: the rooms of CONTRIBUTING.md. `npm run lint` fails on an import that is not listed.
const rooms = {
  core: [],
  native: ["core"],
  ports: ["core"],
  // Value types of ports (events, opaque values) are what the wire helpers convert to and from.
  wire: ["core", "ports"],
  config: ["core"],
  "actors/kernel": ["core"],
  actors: ["actors", "ports", "core"],
  api: ["wire", "ports", "core"],
  store: ["native", "ports", "wire", "core"],
  runtime: ["native", "wire", "core"],
  workers: ["native", "runtime", "ports", "wire", "core"],
  shim: ["runtime", "native", "workers", "actors/kernel", "ports", "wire", "core"],
  "shim-link": ["runtime", "native", "ports", "wire", "core"],
  client: ["wire", "native", "core"],
  cli: ["client", "wire", "core"],
};

// The API sees of actors only what may be sent to them, and how to find them.
const actorSurface = "^src/actors/([^/]+/messages|containers/directory|kernel/types)\\.ts$";

const forbidden = Object.entries(rooms).map(([room, allowed]) => ({
  name: `${room.replace("/", "-")}-imports`,
  severity: "error",
  from: { path: `^src/${room}/`, ...(room === "actors" ? { pathNot: "^src/actors/kernel/" } : {}) },
  to: {
    path: "^src/",
    pathNot: [
      `^src/${room}/`,
      ...allowed.map((other) => `^src/${other}/`),
      ...(room === "api" ? [actorSurface] : []),
      // The CLI draws the supervision tree, whose shape is the kernel's.
      ...(room === "cli" ? ["^src/actors/kernel/types\\.ts$"] : []),
    ],
  },
}));

module.exports = {
  forbidden: [
    ...forbidden,
    {
      name: "actors-know-messages-only",
      comment: "Actors reach each other through messages, not through each other's state or handlers.",
      severity: "error",
      from: { path: "^src/actors/([^/]+)/", pathNot: "^src/actors/(kernel|containers)/" },
      to: {
        path: "^src/actors/",
        pathNot: [
          "^src/actors/$1/",
          "^src/actors/[^/]+/messages\\.ts$",
          "^src/actors/kernel/types\\.ts$",
          "^src/actors/container/dependencies\\.ts$",
        ],
      },
    },
    {
      name: "shim-outlives-the-daemon",
      comment: "Nothing that the shim reaches may reach the API, the store or a container actor.",
      severity: "error",
      from: { path: "^src/shim/main\\.ts$" },
      to: {
        path: [
          "^src/(api|store|shim-link|daemon)/",
          "^src/actors/(?!kernel/)",
          "node_modules/(@grpc|lmdb|pino)/",
        ],
        reachable: true,
      },
    },
    { name: "nobody-imports-main", severity: "error", from: {}, to: { path: "^src/main\\.ts$" } },
    {
      name: "only-main-composes",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/(main\\.ts|daemon/)" },
      to: { path: "^src/daemon/" },
    },
  ],
  options: { parser: "swc", doNotFollow: { path: "node_modules" }, tsPreCompilationDeps: true },
};
