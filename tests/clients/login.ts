// A login with the types that openapi-typescript makes: see test_generated_clients.py.
// It prints what came of each call. tsc checks it, so that what it decides by is typed.

import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

declare const process: { env: Record<string, string> };
type Challenge = components["schemas"]["Challenge"];

const [first, second] = ["+447700900123", "+447700900124"] as const;
const { API_URL, ADMIN_URL, API_KEY } = process.env;

function connect(key: string | undefined) {
  return createClient<paths>({ baseUrl: API_URL!, headers: { Authorization: `Bearer ${key}` } });
}

type Client = ReturnType<typeof connect>;

async function issue(client: Client, number: string): Promise<Challenge | string> {
  const { data, error } = await client.POST("/v1/challenges", {
    body: { phone_number: number, account: "u-81" },
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  });
  if (data) return data;
  // @ts-expect-error  No problem has a wait until its type is known.
  error.retry_after;
  switch (error.type) {
    case "/problems/rate-limited":
      return `${error.limit} refuses for ${error.retry_after > 0 ? "some" : "no"} time`;
    case "/problems/unauthenticated":
      return "wrong key";
    default:
      throw new TypeError(error.type);
  }
}

async function verify(client: Client, challenge: Challenge, code: string): Promise<string> {
  const { data, error } = await client.POST("/v1/challenges/{challenge_id}/verify", {
    params: { path: { challenge_id: challenge.id } },
    body: { code, account: "u-81" },
  });
  if (data) return data.status;
  switch (error.type) {
    case "/problems/incorrect-code":
      return `wrong code, ${error.attempts_left} left`;
    case "/problems/challenge-locked":
      return `locked: ${error.status}`;
    default:
      throw new TypeError(error.type);
  }
}

async function findEventTypes(client: Client, challenge: Challenge): Promise<string> {
  const query = { challenge: challenge.id, limit: 2 };
  const { data } = await client.GET("/v1/audit/events", { params: { query } });
  return data!.events.flatMap((each) => (each.integrity === "ok" ? [each.type] : [])).join(" ");
}

async function readCode(number: string): Promise<string> {
  const reply = await fetch(`${ADMIN_URL}/inbox.json`);
  const messages = (await reply.json()) as { to: string; text: string }[];
  return /\b\d{6}\b/.exec(messages.find((message) => message.to === number)!.text)![0];
}

function makeWrong(code: string): string {
  return String((Number(code) + 1) % 10 ** 6).padStart(6, "0");
}

const client = connect(API_KEY);
const challenge = (await issue(client, first)) as Challenge;
const code = await readCode(first);
console.log(await verify(client, challenge, makeWrong(code)));
console.log(await verify(client, challenge, code));
console.log(await findEventTypes(client, challenge));
console.log(await issue(client, first));
const guessed = (await issue(client, second)) as Challenge;
const wrong = makeWrong(await readCode(second));
for (let i = 0; i < 6; i++) console.log(await verify(client, guessed, wrong));
console.log(await issue(connect("unknown"), first));
