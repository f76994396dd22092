// Twilio's own client for Node, unchanged. Each line of standard input is a call, and each line of standard
// output what an application gets: the result, or the exception.

import { createInterface } from "node:readline";
import twilio from "twilio";

const RestException = twilio.RestException;

/** Return what a call of an application returns. */
function run({ url, account, token, options, service, sid, call, fields }) {
  const client = twilio(account, token, options);
  client.verify.baseUrl = url; // the one line that an application changes
  const context = client.verify.v2.services(service);
  const calls = {
    start: () => context.verifications.create(fields),
    check: () => context.verificationChecks.create(fields),
    fetch: () => context.verifications(sid).fetch(),
    cancel: () => context.verifications(sid).update({ status: "canceled" }),
    approve: () => context.verifications(sid).update({ status: "approved" }),
    list: () => client.verify.v2.services.list(fields),
    fetchService: () => context.fetch(),
    listEntities: () => context.entities("12345678").fetch(),
  };
  return calls[call]();
}

/** Return the members of a resource, in which instants are marked. */
function describe(result) {
  if (Array.isArray(result)) return result.map(describe);
  const { _version, _context, _solution, _proxy, ...members } = result;
  for (const [name, value] of Object.entries(members))
    if (value instanceof Date) members[name] = `Date ${value.toISOString()}`;
  return members;
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(JSON.stringify({ result: describe(await run(JSON.parse(line))) }));
  } catch (error) {
    const { status, code, message, moreInfo } = error;
    const kind = error instanceof RestException ? "RestException" : error.constructor.name;
    console.log(JSON.stringify({ error: { kind, status, code, message, moreInfo: moreInfo ?? "" } }));
  }
}
