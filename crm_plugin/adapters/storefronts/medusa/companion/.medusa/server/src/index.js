"use strict";
// The package has subscribers, a route and an admin page; it has no module of its own.
module.exports = {};
