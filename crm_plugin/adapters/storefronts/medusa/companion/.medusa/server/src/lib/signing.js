"use strict";
const { createHmac } = require("node:crypto");

const hmac = (secret, text) => createHmac("sha256", secret).update(text).digest("hex");

// Headers of one delivery: signed are the time stamp, the delivery's id and the bytes of the body.
function signed(secret, delivery, body, seconds) {
  return {
    "content-type": "application/json",
    "x-crm-timestamp": String(seconds),
    "x-crm-delivery": delivery,
    "x-crm-signature": hmac(secret, `${seconds}.${delivery}.${body}`),
  };
}

// A short-lived pass for the page in the admin: who asks, of which store, until when (seconds since 1970).
function pass(secret, store, actor, until) {
  const payload = Buffer.from(JSON.stringify({ store, actor, exp: until })).toString("base64url");
  return `${payload}.${hmac(secret, payload)}`;
}

// What proves that the store asks for a customer: signed for this purpose alone.
const proof = (secret, body) => hmac(secret, `shopper\n${body}`);

module.exports = { signed, pass, proof };
