import { createElement, useEffect, useRef, useState } from "react";

// Our page in a frame: it says that it is ready, and is handed the pass by message, to its own address alone.
function Page() {
  const frame = useRef(null);
  const [told, setTold] = useState({});
  useEffect(() => {
    const ask = () => fetch("/admin/crm/connect", { credentials: "include" }).then((answer) => answer.json());
    const listen = (event) => {
      const shown = frame.current && frame.current.contentWindow;
      if (!told.page || event.source !== shown || event.origin !== new URL(told.page).origin) return;
      if (event.data && event.data.type === "crm:ready") {
        const theme = document.documentElement.classList.contains("dark") ? "dark" : "light";
        ask().then((fresh) => shown.postMessage({ type: "crm:pass", token: fresh.token, theme }, event.origin));
      }
    };
    window.addEventListener("message", listen);
    if (!told.page && !told.message) ask().then(setTold, (error) => setTold({ message: error.message }));
    return () => window.removeEventListener("message", listen);
  }, [told]);
  if (!told.page) return createElement("p", null, told.message || "");
  return createElement("iframe", {
    ref: frame, src: told.page, title: "CRM", style: { border: 0, width: "100%", height: "calc(100vh - 80px)" },
  });
}

const plugin = {
  widgetModule: { widgets: [] },
  routeModule: { routes: [{ Component: Page, path: "/crm" }] },
  menuItemModule: { menuItems: [{ label: "CRM", path: "/crm" }] },
  formModule: { customFields: {} },
  displayModule: { displays: {} },
};

export default plugin;
