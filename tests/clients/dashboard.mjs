// The dashboard in a real browser: node tests/clients/dashboard.mjs URL [folder for pictures]
//
// Prints "open" when the page follows the live feed; a hit of the rule "overheat" whose output has
// the member "proof" with the text "<b>live</b>" is then expected within the browser's patience.
// Ends with 0 when every check holds; else prints what does not and ends with 1.

import { Browser } from "./browser.mjs";

const [url, pictures] = process.argv.slice(2);
const findings = [];
const check = (holds, text) => holds || findings.push(text);

function overflow() {
  return document.documentElement.scrollWidth - document.documentElement.clientWidth;
}

function background() {
  return getComputedStyle(document.body).backgroundColor;
}

const browser = await Browser.launch();
try {
  const wide = await browser.open(url);
  await wide.until(() => document.getElementById("link").dataset.state === "live");
  await wide.until(() => document.getElementById("rules-body").textContent.includes("overheat"));
  console.log("open");
  await wide.until(() => document.getElementById("hits-list").textContent.includes("<b>live</b>"));
  const isMarkup = () => [...document.querySelectorAll("#hits-list b")].some((b) => b.textContent === "live");
  check(!(await wide.run(isMarkup)), "a payload became markup");
  check((await wide.run(overflow)) <= 0, "wide: the page scrolls sideways");
  const light = await wide.run(background);
  if (pictures) await wide.screenshot(`${pictures}/dashboard-wide-light.png`);
  await wide.prefer("dark");
  await wide.until((before) => getComputedStyle(document.body).backgroundColor !== before, light);
  if (pictures) await wide.screenshot(`${pictures}/dashboard-wide-dark.png`);

  const phone = await browser.open(url, { width: 360, height: 740, scheme: "dark" });
  await phone.until(() => document.getElementById("hits-list").textContent.includes("<b>live</b>"));
  check((await phone.run(overflow)) <= 0, "phone: the page scrolls sideways");
  if (pictures) await phone.screenshot(`${pictures}/dashboard-phone-dark.png`);

  for (const page of [wide, phone]) {
    check(page.errors.length === 0, `the page logs errors: ${page.errors.join("; ")}`);
    const foreign = page.requests.filter((asked) => !asked.startsWith(new URL(url).origin) && !asked.startsWith("data:"));
    check(foreign.length === 0, `the page asks other hosts: ${foreign.join(", ")}`);
  }
} catch (error) {
  findings.push(error.message);
} finally {
  await browser.close();
}
findings.forEach((finding) => console.log(finding));
process.exitCode = findings.length === 0 ? 0 : 1;
