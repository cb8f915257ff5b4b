// Signs in through the API (password, then the code if one is asked for) and exchanges the access
// token for the cookie of the dashboards. Nothing is kept: the tokens are gone with this page.

const passwordForm = document.getElementById("password-form");
const codeForm = document.getElementById("code-form");
const message = document.getElementById("message");
let challenge = "";

async function post(path, body, headers = {}) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    body: body ? JSON.stringify(body) : undefined,
  });
  const document = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) {
    const wait = answer.headers.get("Retry-After");
    throw new Error(`${document.detail ?? document.title ?? answer.status}${wait ? ` Try again in ${wait} s.` : ""}`);
  }
  return document;
}

async function enter(session) {
  await post("/dashboards/session", null, { Authorization: `Bearer ${session.access_token}` });
  location.replace("/dashboards");
}

async function attempt(form, step) {
  const button = form.querySelector("button");
  message.textContent = "";
  button.disabled = true;
  try {
    await step();
  } catch (error) {
    message.textContent = error.message;
  }
  button.disabled = false;
}

passwordForm.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(passwordForm, async () => {
    const { username, password } = Object.fromEntries(new FormData(passwordForm));
    const answer = await post("/v1/auth/login", { username, password });
    if (!answer.mfa_required) {
      await enter(answer);
      return;
    }
    challenge = answer.challenge;
    passwordForm.hidden = true;
    codeForm.hidden = false;
    codeForm.elements.code.focus();
  });
});

codeForm.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(codeForm, async () => {
    const { code } = Object.fromEntries(new FormData(codeForm));
    await enter(await post("/v1/auth/mfa/verify", { challenge, code }));
  });
});
