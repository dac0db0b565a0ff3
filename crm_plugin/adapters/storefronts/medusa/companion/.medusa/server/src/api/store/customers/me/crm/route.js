"use strict";
const { optionsOf } = require("../../../../../lib/options");
const { proof } = require("../../../../../lib/signing");

// A page of the shop waits for it.
const WAIT_MS = 4000;

// What the storefront needs to show this customer their messages. Below /store/customers/me, so Medusa has checked already who asks.
async function GET(request, response) {
  const options = optionsOf(request.scope);
  const customer = request.auth_context && request.auth_context.actor_id;
  response.setHeader("Cache-Control", "no-store");
  if (!options.server || !options.events || !options.secret || !customer) {
    response.status(404).json({ message: "There are no messages here." });
    return;
  }
  const body = JSON.stringify({ customer, at: Math.floor(Date.now() / 1000) });
  const headers = { "content-type": "application/json", "x-crm-proof": proof(options.secret, body) };
  try {
    const answer = await fetch(`${String(options.events).replace(/\/+$/, "")}/shopper`, {
      method: "POST", headers, body, redirect: "error", signal: AbortSignal.timeout(WAIT_MS),
    });
    const told = answer.ok ? await answer.json() : {};
    if (typeof told.token !== "string" || !told.token) {
      response.status(answer.status >= 500 ? 503 : 404).json({ message: "There are no messages here." });
      return;
    }
    const script = `${String(options.server).replace(/\/+$/, "")}/static/inapp.js`;
    response.json({ script, token: told.token, preferences: String(told.preferences || "") });
  } catch (error) {
    request.scope.resolve("logger").warn(`crm: messages were not had: ${error.message}`);
    response.status(503).json({ message: "There are no messages now." });
  }
}

module.exports = { __esModule: true, GET };
