"use strict";
const { randomUUID } = require("node:crypto");
const { optionsOf } = require("../lib/options");
const { signed } = require("../lib/signing");

const ATTEMPTS = 5;
const WAIT_MS = 15000;

// A payment names its order only by way of its collection.
async function withOrder(event, container) {
  const data = event.data || {};
  if (!event.name.startsWith("payment.") || data.order_id || !data.id) return data;
  const query = container.resolve("query");
  const found = await query.graph({
    entity: "payment", fields: ["id", "payment_collection.order.id"], filters: { id: data.id },
  });
  const payment = (found.data || [])[0];
  const order = payment && payment.payment_collection && payment.payment_collection.order;
  return order ? { ...data, order_id: order.id } : data;
}

// Ids alone, whatever else a plugin of the store puts into an event.
function idsOf(data) {
  const known = ([name, value]) => /^id$|_id$/.test(name) && typeof value === "string";
  return Object.fromEntries(Object.entries(data).filter(known));
}

async function deliver(options, body, delivery, send, pause) {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    try {
      const headers = signed(options.secret, delivery, body, Math.floor(Date.now() / 1000));
      const answer = await send(options.events, {
        method: "POST", headers, body, redirect: "error", signal: AbortSignal.timeout(WAIT_MS),
      });
      // Read or not, the connection is given back.
      if (answer.body) await answer.body.cancel();
      // What is refused for good would be refused again.
      if (answer.ok || (answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 429)) {
        return answer.status;
      }
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
    if (attempt < ATTEMPTS) await pause(1000 * 3 ** attempt);
  }
  return 0;
}

async function forward({ event, container }) {
  const options = optionsOf(container);
  if (!options.events || !options.secret) return;
  const log = container.resolve("logger");
  const delivery = randomUUID();
  let data = event.data || {};
  try {
    data = await withOrder(event, container);
  } catch (error) {
    log.warn(`crm: the order of ${event.name} is not found: ${error.message}`);
  }
  const at = (event.metadata && event.metadata.created_at) || new Date().toISOString();
  const body = JSON.stringify({ name: event.name, data: idsOf(data), at });
  // Not waited for: a checkout must not take longer because we do.
  const pause = (ms) => new Promise((done) => setTimeout(done, ms).unref());
  deliver(options, body, delivery, fetch, pause).then(
    (status) => (status >= 200 && status < 300) || log.warn(`crm: ${event.name} was not taken (HTTP ${status})`),
    (error) => log.warn(`crm: ${event.name} was not delivered: ${error.message}`),
  );
}

module.exports = {
  __esModule: true,
  default: forward,
  deliver,
  idsOf,
  config: {
    event: [
      "customer.created", "customer.updated", "customer.deleted",
      "order.placed", "order.updated", "order.completed", "order.canceled", "order.archived",
      "order.fulfillment_created", "order.fulfillment_canceled", "order.return_received",
      "payment.captured", "payment.refunded", "shipment.created", "delivery.created",
      "product-variant.created", "product-variant.updated", "product-variant.deleted",
    ],
    context: { subscriberId: "crm-plugin-forward" },
  },
};
