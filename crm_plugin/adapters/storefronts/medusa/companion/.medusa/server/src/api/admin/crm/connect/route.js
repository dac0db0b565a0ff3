"use strict";
const { optionsOf } = require("../../../../lib/options");
const { pass } = require("../../../../lib/signing");

const SECONDS = 120;

// Below /admin, so Medusa has checked already that somebody of the staff asks.
async function GET(request, response) {
  const options = optionsOf(request.scope);
  const actor = request.auth_context && request.auth_context.actor_id;
  if (!options.server || !options.secret || !actor) {
    response.status(409).json({ message: "Set server, events, secret and store in the options of crm-plugin-medusa." });
    return;
  }
  const server = String(options.server).replace(/\/+$/, "");
  const until = Math.floor(Date.now() / 1000) + SECONDS;
  const store = String(options.store || "");
  const token = pass(options.secret, store, actor, until);
  response.setHeader("Cache-Control", "no-store");
  response.json({ page: `${server}/install/medusa/page?store=${encodeURIComponent(store)}`, token });
}

module.exports = { __esModule: true, GET };
