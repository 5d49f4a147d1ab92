// Prisma's command line with its engine in JavaScript, so that it works where
// npm is all there is.
import { defineConfig } from 'prisma/config'
import { PrismaPg } from '@prisma/adapter-pg'

// The engine's timer for its lock would keep the process alive for 10 s.
const setTimer = globalThis.setTimeout as any
;(globalThis as any).setTimeout = (callback: any, ms: any, ...rest: any[]) => {
  const timer = setTimer(callback, ms, ...rest)
  if (ms >= 5000) timer.unref?.()
  return timer
}

// The stock adapter splits a script at every semicolon; the engine proper
// sends it whole, as one simple query and so as one transaction.
class WholeScripts extends PrismaPg {
  async connect() {
    const connection: any = await super.connect()
    connection.executeScript = async (script: string) => {
      try {
        await connection.client.query(script)
      } catch (error) {
        connection.onError(error)
      }
    }
    return connection
  }
}

// In parts, as the shadow database has another name, which a URL would override.
const url = new URL(process.env.DATABASE_URL!)
const connection = {
  host: url.searchParams.get('host') ?? url.hostname,
  port: Number(url.port),
  user: url.username,
  database: url.pathname.slice(1),
}

export default defineConfig({
  experimental: { adapter: true },
  engine: 'js',
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  adapter: async () => new WholeScripts({ ...connection, max: 1, idleTimeoutMillis: 50 }),
})
