/** What `causeway config init` writes: one Postgres copied into another, with everything else in comments. */
export const initialConfig = `# Causeway: a live copy of one Postgres in another. docs/configuration.md describes every key.
#   causeway config validate     what is wrong with this file, with line and mend
#   causeway check               what is missing at the databases, with the statements that mend it
#   causeway run                 the daemon;  causeway status  shows what it does
version: 1

# Leases, checkpoints and requests of commands. One file for all pipelines of this machine; docs/control-stores.md for several.
control: { kind: embedded, path: ./data/control.db }

# Endpoints. 0.0.0.0 instead of 127.0.0.1 lets other machines see them; they change nothing.
http: { listen: 127.0.0.1:8080 } # /livez /readyz /status /api/v1/status
metrics: { listen: 127.0.0.1:9090 } # /metrics

# logging: { level: info, format: auto }
# stop: { grace: 25s }

pipelines:
  main:
    source:
      kind: postgres
      # \${NAME} is taken from the environment, \${file:/path} from a file. Neither is ever printed.
      url: \${SOURCE_URL}
      # passwordFile: /run/secrets/source-password   # read again at each connection
      # tls: { mode: verify-full, ca: /etc/causeway/source-ca.pem }
      tables:
        # Exact names, schema.* for all tables of a schema, "!schema.table" to leave one out.
        - public.*
        # Rows that are there at the first start are loaded, unless you copied them yourself:
        # - { name: public.customers, snapshot: never }
        # - { name: public.orders, target: copy.orders }
    # What stands between both databases. It keeps what a sink that is down still needs.
    log: { kind: embedded, path: ./data/main-log.db }
    sinks:
      copy:
        kind: postgres
        url: \${SINK_URL}
        # create: tables that are missing are made. check: they are refused, and the DDL is printed.
        provision: create
        # deadLetter: { parkedKeysMax: 1000 }
    # lease: { ttl: 15s }
`;
