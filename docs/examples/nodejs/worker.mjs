// A worker: executes the tasks of one queue, by the rules of the contract (docs/how-to/write-a-worker.md).
//
//   AMQP_URL=amqp://guest:guest@localhost QUEUE=captions node worker.mjs
//
// It knows two handlers: `captions.upper` gives back its input `text` in capitals; `captions.wait` takes `seconds`.
import amqp from 'amqplib';
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';

const { AMQP_URL = 'amqp://localhost', QUEUE = 'captions', PREFIX = 'taskengine', SLOTS = '4' } = process.env;
const worker = { id: randomUUID(), name: hostname(), language: 'javascript', queues: { [QUEUE]: Number(SLOTS) } };
let draining = false;
let consumerTag;
const running = new Map(); // token → {task_id, attempt, token, abort}
const HEARTBEAT_MS = 2000;
const EARLY_ACK_MS = 60_000; // a delivery is never held for long: brokers close such consumers

const handlers = {
  'captions.upper': async ({ text }) => ({ text: String(text).toUpperCase() }),
  'captions.wait': ({ seconds }, signal) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, seconds * 1000, { waited: seconds });
      signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)));
    }),
};

const connection = await amqp.connect(AMQP_URL);
connection.on('close', () => process.exit(1)); // let the service manager start it again
const out = await connection.createConfirmChannel();
const take = await connection.createChannel();
const control = await connection.createChannel();

/** Say something to the engine; resolves when the broker has it. Every message is a heartbeat. */
async function report(...reports) {
  const named = [...running.values()].map(({ task_id, attempt, token }) => ({ task_id, attempt, token }));
  const body = Buffer.from(JSON.stringify({ v: 1, worker, running: named, reports }));
  out.sendToQueue(`${PREFIX}.v1.reports`, body, {
    persistent: true, mandatory: true, contentType: 'application/json', messageId: randomUUID(),
  });
  await out.waitForConfirms();
}

const dead = (message, reason) => {
  out.sendToQueue(`${PREFIX}.v1.dead`, message.content, { persistent: true, headers: { 'x-reason': reason } });
  take.ack(message);
};

async function execute(message) {
  let task;
  try {
    task = JSON.parse(message.content.toString());
  } catch (error) {
    return dead(message, `not JSON: ${error.message}`);
  }
  if (task.v !== 1) return dead(message, `unknown version: ${task.v}`);
  const of = (event, more = {}) => ({
    task_id: task.task_id, attempt: task.attempt, token: task.token, event, at: Date.now(), ...more,
  });
  if (message.fields.redelivered) { // the first worker may be alive: only the engine knows
    await report(of('released', { reason: 'redelivered' }));
    return take.ack(message);
  }
  const abort = new AbortController();
  running.set(task.token, { ...of(''), abort });
  await report(of('started'));
  let acked = false;
  const early = setTimeout(() => { acked = true; take.ack(message); }, EARLY_ACK_MS);
  let end;
  try {
    const handler = handlers[task.handler];
    if (!handler) throw Object.assign(new Error(`no handler ${task.handler}`), { kind: 'input' });
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(task.timeout_s * 1000)]);
    signal.throwIfAborted(); // cancelled while `started` was on its way
    end = of('completed', { outputs: await handler(task.with, signal) });
  } catch (error) {
    const kind = error.name === 'TimeoutError' ? 'timeout' : (error.kind ?? 'internal');
    end = of('failed', { error: { kind, message: String(error.message ?? error) } });
  }
  clearTimeout(early);
  running.delete(task.token);
  if (abort.signal.reason === 'drain') end = of('released', { reason: 'drain' });
  if (abort.signal.reason !== 'cancelled') await report(end);
  if (!acked) take.ack(message);
}

/** Wait until the engine has made a queue: it does so when it first uses it, and knows with which arguments. */
async function made(queue) {
  for (;;) {
    const channel = await connection.createChannel();
    channel.on('error', () => {}); // a queue that is not there closes the channel
    try {
      await channel.checkQueue(queue);
      return await channel.close();
    } catch {
      await new Promise((go) => setTimeout(go, 1000));
    }
  }
}

// What the engine says: to this worker, or to all.
await control.assertExchange(`${PREFIX}.v1.control`, 'topic', { durable: true });
const ear = await control.assertQueue('', { exclusive: true });
for (const key of [`worker.${worker.id}`, 'all']) await control.bindQueue(ear.queue, `${PREFIX}.v1.control`, key);
await control.consume(ear.queue, ({ content }) => {
  const { action, token } = JSON.parse(content.toString());
  if (action === 'cancel' || action === 'fenced') running.get(token)?.abort.abort('cancelled'); // nothing more of it
  if (action === 'drain') drain();
}, { noAck: true });

await made(`${PREFIX}.v1.reports`);
await report(); // the first message registers the worker
const beat = setInterval(() => report().catch(() => process.exit(1)), HEARTBEAT_MS);
await take.prefetch(Number(SLOTS));
console.log(`worker ${worker.id} serves ${QUEUE}`);
await made(`${PREFIX}.v1.tasks.${QUEUE}`);
({ consumerTag } = await take.consume(`${PREFIX}.v1.tasks.${QUEUE}`, (message) => {
  if (message) execute(message).catch((error) => { console.error(error); process.exit(1); });
}));

/** Take nothing new; what runs has ten seconds to end, and is handed back then. */
async function drain() {
  if (draining) return;
  draining = true;
  if (consumerTag) await take.cancel(consumerTag);
  for (let waited = 0; running.size && waited < 10_000; waited += 50) await new Promise((go) => setTimeout(go, 50));
  for (const { abort } of running.values()) abort.abort('drain');
  while (running.size) await new Promise((go) => setTimeout(go, 50));
  clearInterval(beat);
  await out.waitForConfirms();
  connection.removeAllListeners('close');
  await connection.close();
}
process.once('SIGTERM', drain);
process.once('SIGINT', drain);
