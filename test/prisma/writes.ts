// Upserts as the application makes them, through Prisma's client: prints what
// it expects to be counted.
import { PrismaClient } from './generated/client'
import { PrismaPg } from '@prisma/adapter-pg'

const prisma = new PrismaClient({
  adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 4 }),
  transactionOptions: { maxWait: 60_000, timeout: 60_000 },
})
const account = { succeeded: 0, failed: 0, rolled_back: 0, rejected: 0, swallowed: 0 }

const insight = (n: number, hash: string | undefined = '0123456789abcdef') => ({
  id: `insight${n}`,
  decisionId: `decision${n}`,
  userId: 'user',
  stateSnapshot: { attention: 0.5, fatigue: 0.1 },
  difficultyFactors: { length: 1, accuracy: 0.9, frequency: 2, forgetting: 0.3 },
  triggers: ['test'],
  featureVectorHash: hash,
})
const upsert = (client: any, n: number) =>
  client.decisionInsight.upsert({
    where: { decisionId: `decision${n}` },
    create: insight(n),
    update: { userId: 'again' },
  })

// New, and there already
await upsert(prisma, 1)
await upsert(prisma, 1)
account.succeeded += 2

// In an interactive transaction that commits
await prisma.$transaction(async (tx) => {
  await upsert(tx, 2)
  await upsert(tx, 3)
})
account.succeeded += 2

// In one whose caller gives up
await prisma
  .$transaction(async (tx) => {
    await upsert(tx, 4)
    throw new Error('no')
  })
  .catch(() => {})
account.rolled_back += 1

// A duplicate id, alone
await prisma.decisionInsight.create({ data: { ...insight(5), id: 'insight1' } }).catch(() => {})
account.failed += 1

// An error that is swallowed in JavaScript: PostgreSQL's transaction is aborted
// by then, the next upsert is refused, and COMMIT answers ROLLBACK.
await prisma
  .$transaction(async (tx) => {
    await upsert(tx, 6)
    await tx.decisionInsight.create({ data: { ...insight(7), id: 'insight1' } }).catch(() => {})
    await upsert(tx, 8).catch(() => {})
  })
  .catch(() => {})
account.rolled_back += 1
account.failed += 1
account.rejected += 1
account.swallowed += 1

// Prisma's upsert of two statements, which it makes where ON CONFLICT does not
// fit, such as where the key looked for is not the one created: a SELECT, then
// an INSERT or an UPDATE, in a transaction of its own.  The SELECTs before and
// after are no attempts.
const upsertInTwo = (client: any, looksFor: number, creates: number) =>
  client.decisionInsight.upsert({
    where: { decisionId: `decision${looksFor}` },
    create: insight(creates),
    update: { userId: 'again' },
  })
const upsertByBoth = (client: any, n: number) =>
  client.decisionInsight.upsert({
    where: { decisionId: `decision${n}`, id: `insight${n}` },
    create: insight(n),
    update: { userId: 'again' },
  })

// The server's log is read between marks.
const mark = (what: string) => prisma.$queryRawUnsafe(`SELECT 'mark: ${what}'`)

const violatesUnique = async (promise: Promise<unknown>) => {
  const code = await promise.then(
    () => 'no error',
    (error) => error.code,
  )
  if (code !== 'P2002') throw new Error(`expected P2002, not ${code}`)
}

await mark('new')
await upsertInTwo(prisma, 100, 10)
await mark('there')
await upsertInTwo(prisma, 10, 100)
await mark('two keys')
for (let time = 0; time < 2; time++) await upsertByBoth(prisma, 11)
await mark('nothing to update')
for (let time = 0; time < 2; time++)
  await prisma.decisionInsight.upsert({ where: { decisionId: 'decision12' }, create: insight(12), update: {} })
account.succeeded += 5

// Another unique field is there already
await mark('conflict')
await violatesUnique(upsertInTwo(prisma, 100, 10))
account.failed += 1

// In a batch
await mark('batch')
await violatesUnique(prisma.$transaction([upsertInTwo(prisma, 100, 13), upsertInTwo(prisma, 100, 10)]))
account.rolled_back += 1
account.failed += 1

// Swallowed: what the aborted transaction refuses then is a SELECT, so no write
// of the next upsert reaches the server.
await mark('swallowed')
await prisma.$transaction(async (tx) => {
  await upsertInTwo(tx, 10, 100)
  await violatesUnique(upsertInTwo(tx, 100, 10))
  await upsertInTwo(tx, 100, 13).catch(() => {})
})
account.rolled_back += 1
account.failed += 1
account.swallowed += 1
await mark('races')

// A race: what the other inserted is not to be seen until it commits, and it
// commits once somebody waits for that.
const race = async (n: number, other: () => Promise<unknown>) => {
  let outcome: Promise<unknown>
  let ended = false
  await prisma.$transaction(async (tx) => {
    await tx.decisionInsight.create({ data: insight(n) })
    const end = () => (ended = true)
    outcome = other()
    outcome.then(end, end)
    for (let waits = false; !waits && !ended; )
      [{ waits }] = await tx.$queryRaw<{ waits: boolean }[]>`
        SELECT count(*) > 0 AS waits FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))`
  })
  account.succeeded += 1
  return outcome!
}

// Lost; tried again, the row is found
await violatesUnique(race(14, () => upsertByBoth(prisma, 14)))
account.failed += 1
await upsertByBoth(prisma, 14)
account.succeeded += 1

// ON CONFLICT waits, too, and then updates
await race(15, () => upsert(prisma, 15))
account.succeeded += 1

// Lost in a transaction that wrote before, whose error is swallowed, or is not
for (const [n, swallows] of [[16, true], [17, false]] as const) {
  const ended = race(n, () =>
    prisma.$transaction(async (tx) => {
      await upsertInTwo(tx, 10, 100)
      const lost = upsertByBoth(tx, n)
      await (swallows ? violatesUnique(lost) : lost)
    }),
  )
  await (swallows ? ended : violatesUnique(ended))
  account.rolled_back += 1
  account.failed += 1
}
account.swallowed += 1

// Many at once: what becomes of each is what it is told
const told = await Promise.allSettled(Array.from({ length: 40 }, (_, n) => upsertByBoth(prisma, 18 + (n % 4))))
for (const one of told) {
  if (one.status === 'fulfilled') account.succeeded += 1
  else if (one.reason.code === 'P2002') account.failed += 1
  else throw one.reason
}

await prisma.$disconnect()
console.log(Object.values(account).join('|'))
