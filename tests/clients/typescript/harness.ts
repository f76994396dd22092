// What the programs share: the service and the proxy of test_typescript_client.py, and running tests.

import assert from "node:assert/strict";
import { type ClientOptions, OtpClient } from "otp-service-client";

export type Tests = Record<string, () => Promise<void>>;

const { API_URL, ADMIN_URL, API_KEY, PROXY_URL, FIRST_NUMBER } = process.env as Record<string, string>;

export const apiKey = API_KEY!;
export const proxyUrl = PROXY_URL!;

let takenNumbers = 0;

/** Return a fictitious number that no other test uses. */
export function takeNumber(): string {
  return `+${Number(FIRST_NUMBER) + takenNumbers++}`;
}

export function connect(options: Partial<ClientOptions> = {}): OtpClient {
  return new OtpClient({ url: API_URL!, apiKey, ...options });
}

/** Return the texts of the messages to a number. */
export async function listTexts(number: string): Promise<string[]> {
  const reply = await fetch(`${ADMIN_URL}/inbox.json?to=${encodeURIComponent(number)}`);
  return ((await reply.json()) as { text: string }[]).map((message) => message.text);
}

/** Return the code in the newest message to a number. */
export async function readCode(number: string): Promise<string> {
  return /\b\d{6}\b/.exec((await listTexts(number))[0]!)![0];
}

/** Return this code and the next one of an authenticator app that has scanned the URI. */
export async function readAppCodes(uri: string): Promise<[string, string]> {
  const headers = { "Content-Type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify({ uri }) };
  const reply = await fetch(`${ADMIN_URL}/authenticator.json`, request);
  const [entry] = (await reply.json()) as { code: string; next_code: string }[];
  return [entry!.code, entry!.next_code];
}

/** Return another code than this one, as long. */
export function makeWrong(code: string): string {
  return String((Number(code) + 1) % 10 ** 6).padStart(6, "0");
}

/** Return the error of a call, which must be of this class. */
export async function catchError<E>(
  call: Promise<unknown>,
  kind: abstract new (...args: any[]) => E,
): Promise<E> {
  const error = await call.then(
    () => assert.fail("the call succeeded"),
    (reason: unknown) => reason,
  );
  assert(error instanceof kind, error as Error);
  return error;
}

/** Run a test, and print what came of it. */
async function runTest(name: string, test: () => Promise<void>): Promise<void> {
  try {
    await test();
    console.log(`passed: ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED: ${name}`, error);
  }
}

export async function runTogether(tests: Tests): Promise<void> {
  await Promise.all(Object.entries(tests).map(([name, test]) => runTest(name, test)));
}

export async function runInTurn(tests: Tests): Promise<void> {
  for (const [name, test] of Object.entries(tests)) await runTest(name, test);
}
