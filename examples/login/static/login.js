// Comfort only: every page works without this file.

// The seconds until something is possible. The server decides; this shows them.
for (const countdown of document.querySelectorAll(".countdown")) {
  const end = Date.now() + countdown.dataset.seconds * 1000;
  const button = countdown.closest("form")?.querySelector("button");
  const left = countdown.querySelector(".left");
  if (button) button.disabled = true;

  const timer = setInterval(showRest, 250);
  showRest();

  function showRest() {
    const seconds = Math.ceil((end - Date.now()) / 1000);
    if (seconds > 0) {
      const minutes = seconds >= 60 ? `${Math.floor(seconds / 60)} min ` : "";
      left.textContent = `${minutes}${seconds % 60} s`;
      return;
    }
    clearInterval(timer);
    if (button) button.disabled = false;
    countdown.querySelector(".text").hidden = true;
    countdown.querySelector(".end").textContent = countdown.dataset.end;
  }
}

// A second click would send the form twice, and the second answer would be a refusal.
document.addEventListener("submit", (event) => {
  const button = event.target.querySelector("button");
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
  button.setAttribute("aria-disabled", "true");
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// WebOTP: Android's browsers offer the code of an SMS whose last line is "@this.host #123456".
const form = document.querySelector('form[action="/login/sms"]');
if (form && "OTPCredential" in window) {
  const waiting = new AbortController();
  form.addEventListener("submit", () => waiting.abort());
  navigator.credentials
    .get({ otp: { transport: ["sms"] }, signal: waiting.signal })
    .then((message) => {
      form.elements.code.value = message.code;
      form.requestSubmit();
    })
    .catch(() => {}); // the person types the code
}
