// Drives a real Chromium for the dashboard's tests, without any package: the DevTools protocol runs
// over two pipes (--remote-debugging-pipe), so no WebSocket client is needed and Debian's Node will do.
//
//   const browser = await Browser.launch();
//   const page = await browser.open("http://127.0.0.1:8080/", { width: 390, height: 844, scheme: "dark" });
//   await page.until(() => document.querySelectorAll("tr").length > 0);
//   await page.screenshot("phone.png");
//   page.errors      what the page logged as an error or threw
//   page.requests    every URL it asked for
//   await browser.close();

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Longest wait for anything, milliseconds. */
const PATIENCE = 30_000;

export class Browser {
  #process;
  #profile;
  #pending = new Map();
  #listeners = new Map();
  #nextId = 1;
  #failure = null;

  /** Starts Chromium (or the program that CHROMIUM names) without a window. */
  static async launch() {
    const browser = new Browser();
    await browser.send("Browser.getVersion");
    return browser;
  }

  constructor() {
    this.#profile = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
    const flags = [
      "--headless=new",
      "--remote-debugging-pipe",
      `--user-data-dir=${this.#profile}`,
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-dev-shm-usage",
      "--disable-gpu",
      "--hide-scrollbars",
      // Chromium's sandbox does not start as root, where tests in containers run.
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
    ];
    const program = process.env.CHROMIUM ?? "chromium";
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    this.#process = spawn(program, flags, { stdio });
    this.#process.on("error", (error) => this.#fail(new Error(`${program} does not start: ${error.message}`)));
    this.#process.on("exit", () => this.#fail(new Error(`${program} has ended`)));
    this.#process.stdio[3].on("error", (error) => this.#fail(error));
    let text = "";
    this.#process.stdio[4].setEncoding("utf8").on("data", (chunk) => {
      const messages = (text + chunk).split("\0");
      text = messages.pop();
      messages.forEach((message) => this.#receive(JSON.parse(message)));
    });
  }

  /** One command of the DevTools protocol. */
  send(method, params = {}, sessionId = undefined) {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method} is not answered`)), PATIENCE);
      this.#pending.set(id, { resolve, reject, timer, method });
      this.#process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    });
  }

  /** A page at `url`, loaded. `scheme` is "light" or "dark". */
  async open(url, { width = 1280, height = 900, scheme = "light" } = {}) {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, targetId);
    this.#listeners.set(sessionId, (event) => page.receive(event));
    await Promise.all(["Page", "Runtime", "Network", "Log"].map((domain) => page.send(`${domain}.enable`)));
    await page.resize(width, height);
    await page.prefer(scheme);
    await page.goto(url);
    return page;
  }

  /** Ends the browser and removes its profile. */
  async close() {
    if (!this.#failure) {
      const ended = new Promise((resolve) => this.#process.once("exit", resolve));
      this.send("Browser.close").catch(() => {});
      const timer = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  #receive(message) {
    if (message.id === undefined) {
      this.#listeners.get(message.sessionId)?.(message);
      return;
    }
    const { resolve, reject, timer, method } = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    clearTimeout(timer);
    if (message.error) reject(new Error(`${method}: ${message.error.message}`));
    else resolve(message.result);
  }

  #fail(error) {
    this.#failure ??= error;
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(this.#failure);
    }
    this.#pending.clear();
  }
}

export class Page {
  errors = [];
  requests = [];
  #browser;
  #session;
  #target;
  #loaded = () => {};

  constructor(browser, session, target) {
    this.#browser = browser;
    this.#session = session;
    this.#target = target;
  }

  send(method, params = {}) {
    return this.#browser.send(method, params, this.#session);
  }

  receive({ method, params }) {
    if (method === "Page.loadEventFired") this.#loaded();
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Runtime.exceptionThrown") {
      const { text, exception } = params.exceptionDetails;
      this.errors.push(exception?.description ?? text);
    }
    if (method === "Runtime.consoleAPICalled" && params.type === "error") {
      this.errors.push(params.args.map((argument) => argument.value ?? argument.description).join(" "));
    }
    if (method === "Log.entryAdded" && params.entry.level === "error") {
      this.errors.push(`${params.entry.text} ${params.entry.url ?? ""}`.trim());
    }
  }

  /** Goes to `url` and waits until it is loaded. */
  async goto(url) {
    let timer;
    const loaded = new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${url} is not loaded`)), PATIENCE);
      this.#loaded = resolve;
    });
    // The rejection is awaited below, after the navigation's own answer.
    loaded.catch(() => {});
    try {
      const { errorText } = await this.send("Page.navigate", { url });
      if (errorText) throw new Error(`${url}: ${errorText}`);
      await loaded;
    } finally {
      clearTimeout(timer);
    }
  }

  resize(width, height) {
    const mobile = width < 600;
    return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
  }

  /** The colour scheme that the page is told the user prefers. */
  prefer(scheme) {
    return this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** Runs a function (its text is sent: it sees only its arguments) in the page; answers its JSON value. */
  async run(toRun, ...args) {
    const expression = `(${toRun})(...${JSON.stringify(args)})`;
    const options = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", options);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Runs a function in the page again and again until it answers something true; answers that. */
  async until(toRun, ...args) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const value = await this.run(toRun, ...args);
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`never true: ${toRun}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Clicks the first element that `selector` finds. */
  async click(selector) {
    await this.until((wanted) => Boolean(document.querySelector(wanted)), selector);
    await this.run((wanted) => document.querySelector(wanted).click(), selector);
  }

  /** Writes a picture of the visible part. */
  async screenshot(file) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(file, Buffer.from(data, "base64"));
  }

  close() {
    return this.#browser.send("Target.closeTarget", { targetId: this.#target });
  }
}
