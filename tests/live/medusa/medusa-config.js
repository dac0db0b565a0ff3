const { defineConfig } = require("@medusajs/framework/utils");

const cors = "http://127.0.0.1";
module.exports = defineConfig({
  admin: { disable: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { connection: { ssl: false } },
    http: { storeCors: cors, adminCors: cors, authCors: cors, jwtSecret: "live", cookieSecret: "live" },
  },
  plugins: [{
    resolve: "crm-plugin-medusa",
    options: { server: "http://127.0.0.1", events: process.env.CRM_EVENTS, secret: process.env.CRM_SECRET, store: "live" },
  }],
});
