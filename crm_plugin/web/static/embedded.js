// Inside a platform's admin: takes the token that the platform's own script has, exchanges it for a visit, and goes on.
const place = document.querySelector("[data-enter]");

// What the admin is read in: it stands in the first page's address; a page that comes again knows it from the visit before.
let lang = new URLSearchParams(location.search).get("locale") ?? place.dataset.lang;

const enter = async (token) => {
  const query = new URLSearchParams({ to: place.dataset.onward, lang });
  const answer = await fetch(`${place.dataset.enter}?${query}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
    credentials: "omit",
  });
  if (!answer.ok) return tell();
  const { address } = await answer.json();
  location.replace(address);
};

const tell = () => {
  document.querySelector("[data-slow]").hidden = false;
};

// Saleor's bridge, and any that speaks like it, tells the token, and a fresh one where the first had run out; Shopify's is asked for it.
for (const name of ["crm:visit", "crm:token"]) document.addEventListener(name, (event) => enter(event.detail).catch(tell));
document.addEventListener("crm:locale", (event) => {
  lang = event.detail;
});
if (window.crmSaleor && window.crmSaleor.token && window.crmSaleor.token()) enter(window.crmSaleor.token()).catch(tell);
if (window.shopify && window.shopify.idToken) window.shopify.idToken().then(enter).catch(tell);
setTimeout(tell, 8000);
