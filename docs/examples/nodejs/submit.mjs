// Submits a job by message and prints the answer, as JSON.
//
//   AMQP_URL=… CLIENT=demo API_KEY=… node submit.mjs WORKFLOW '{"parameter": "value"}'
import amqp from 'amqplib';
import { randomUUID } from 'node:crypto';

const { AMQP_URL = 'amqp://localhost', PREFIX = 'taskengine', CLIENT = 'demo', API_KEY = '' } = process.env;
const [workflow, parameters = '{}'] = process.argv.slice(2);
const connection = await amqp.connect(AMQP_URL);
const channel = await connection.createConfirmChannel();
const id = randomUUID(); // the idempotency key: publish again with the same one where no confirm comes

const answered = new Promise((resolve) =>
  channel.consume('amq.rabbitmq.reply-to', (answer) => {
    if (answer.properties.correlationId === id) resolve(JSON.parse(answer.content.toString()));
  }, { noAck: true }));
const body = Buffer.from(JSON.stringify({ job: { workflow }, parameters: JSON.parse(parameters) }));
channel.publish(`${PREFIX}.v1.jobs`, 'jobs', body, {
  persistent: true, mandatory: true, contentType: 'application/json', messageId: id, correlationId: id,
  replyTo: 'amq.rabbitmq.reply-to', headers: { client: CLIENT, 'api-key': API_KEY },
});
await channel.waitForConfirms();
const answer = await answered;
console.log(JSON.stringify(answer));
await connection.close();
process.exitCode = answer.status === 200 ? 0 : 1;
