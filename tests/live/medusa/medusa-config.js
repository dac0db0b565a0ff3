const { defineConfig } = require("@medusajs/framework/utils");

const cors = process.env.CRM_STORE || "http://127.0.0.1";
module.exports = defineConfig({
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { connection: { ssl: false } },
    http: { storeCors: cors, adminCors: cors, authCors: cors, jwtSecret: "live", cookieSecret: "live" },
    // The admin is opened over plain http, on this machine alone.
    cookieOptions: { secure: false, sameSite: "lax" },
  },
  plugins: [{
    resolve: "crm-plugin-medusa",
    options: {
      server: process.env.CRM_SERVER, events: process.env.CRM_EVENTS, secret: process.env.CRM_SECRET, store: process.env.CRM_STORE,
    },
  }],
});
