// Prints what happens to jobs, an event a line (CloudEvents, as JSON).
//
//   AMQP_URL=… node follow.mjs 'job.#' 'task.demo.#'
import amqp from 'amqplib';

const { AMQP_URL = 'amqp://localhost', PREFIX = 'taskengine' } = process.env;
const keys = process.argv.length > 2 ? process.argv.slice(2) : ['#'];
const connection = await amqp.connect(AMQP_URL);
const channel = await connection.createChannel();
const { queue } = await channel.assertQueue('', { exclusive: true }); // give it a name to have it kept while you are away
await channel.assertExchange(`${PREFIX}.v1.events`, 'topic', { durable: true });
for (const key of keys) await channel.bindQueue(queue, `${PREFIX}.v1.events`, key);
const last = new Map(); // subject's job → seq: what comes again is passed over
await channel.consume(queue, ({ content }) => {
  const event = JSON.parse(content.toString());
  const job = event.subject.split('/')[1];
  if (event.seq <= (last.get(job) ?? 0)) return;
  last.set(job, event.seq);
  console.log(JSON.stringify(event));
}, { noAck: true });
console.error('following');
process.once('SIGTERM', () => connection.close());
process.once('SIGINT', () => connection.close());
