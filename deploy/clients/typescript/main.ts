// A guarded service: node main.js KEYLEDGER CREDENTIAL_FILE SERVICE_CONFIG PROTOS

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo } from "node:net";
import { ChannelCredentials } from "@grpc/grpc-js";
import { Guard, type Guarded } from "./guard.js";

const [address, credential, serviceConfig, protos] = process.argv.slice(2);
if (!address || !credential || !serviceConfig || !protos) {
  throw new Error("usage: node main.js KEYLEDGER CREDENTIAL_FILE SERVICE_CONFIG PROTOS");
}
const text = (path: string) => readFileSync(path, "utf8");
// To another machine: ChannelCredentials.createSsl()
const channel = ChannelCredentials.createInsecure();
const token = text(credential).trimEnd();
const guard = new Guard(address, channel, token, text(serviceConfig), protos);

const account: Guarded = (_request, response, principal) => {
  response.end(principal.account_id);
};
const routes = new Map([
  ["/reports", guard.require("reports:read", account)],
  ["/invoices", guard.require("invoices:write", account)],
]);
const server = createServer((request, response) => {
  const route = routes.get(request.url ?? "");
  if (route) {
    route(request, response);
  } else {
    response.writeHead(404).end();
  }
});
server.listen(0, "127.0.0.1", () => {
  console.log(`ready http=127.0.0.1:${(server.address() as AddressInfo).port}`);
});
