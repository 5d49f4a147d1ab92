// Upserts as the application makes them, through Prisma's client: prints what
// it expects to be counted.
import { PrismaClient } from './generated/client'
import { PrismaPg } from '@prisma/adapter-pg'

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 4 }) })
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

await prisma.$disconnect()
console.log(Object.values(account).join('|'))
