/** What callers pass, refused before anything is sent. No message has the value: it may be a secret. */

import { createProblemError } from "./problems.ts";

/** The longest that setTimeout takes; with more it would end at once. */
const MAX_TIMEOUT_MILLISECONDS = 2 ** 31 - 1;

const LOOPBACK_HOST = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Return the URL of the service without a slash at its end. */
export function checkUrl(value: string, allowHttp: boolean): string {
  const url = parseUrl(value);
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password)
    throw new TypeError("url must be like https://otp.example.com, without a user and a password");
  if (url.search || url.hash) throw new TypeError("url must have neither a query nor a fragment");
  if (url.protocol === "http:" && !allowHttp && !LOOPBACK_HOST.test(url.hostname))
    throw new TypeError(
      "url must begin with https://, or be on loopback. allowHttp: true is for a network that is not read.",
    );
  return url.origin + url.pathname.replace(/\/+$/, "");
}

function parseUrl(value: string): URL | undefined {
  try {
    return new URL(value);
  } catch {
    return undefined; // the error would have the value, and with it a password
  }
}

/** Return a value that fetch accepts in a header; otherwise its error would quote the value. */
export function checkHeaderValue(name: string, value: string): string {
  if (!/^[\x20-\x7e]{1,255}$/.test(value))
    throw new TypeError(`${name} must be 1 to 255 visible ASCII characters`);
  return value;
}

/** Return an id as a part of a path. Throws the problem of an unknown one where it would be another path. */
export function checkId(value: string, slug: "challenge-not-found" | "not-found"): string {
  if (/^[\w-]{1,128}$/.test(value)) return value;
  const detail = "An id has letters, digits and hyphens only. Nothing was sent.";
  const document = { type: `/problems/${slug}`, title: "Not found", status: 404, detail };
  throw createProblemError({ document, status: 404 });
}

/** Return a timeout that setTimeout keeps. */
export function checkTimeout(milliseconds: number): number {
  if (!(milliseconds > 0 && milliseconds <= MAX_TIMEOUT_MILLISECONDS))
    throw new RangeError(`timeoutMilliseconds must be above 0, at most ${MAX_TIMEOUT_MILLISECONDS}`);
  return milliseconds;
}
