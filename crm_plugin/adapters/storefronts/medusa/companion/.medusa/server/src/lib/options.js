"use strict";
const NAME = "crm-plugin-medusa";

// What the merchant wrote into `plugins` of medusa-config.js for this package.
function optionsOf(container) {
  const plugins = container.resolve("configModule").plugins || [];
  const found = plugins.find((one) => one && typeof one === "object" && String(one.resolve).includes(NAME));
  return (found && found.options) || {};
}

module.exports = { optionsOf, NAME };
