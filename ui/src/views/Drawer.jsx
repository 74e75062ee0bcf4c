// A side panel over the page. A modal <dialog> brings the focus trap, Escape and the return of the
// focus to the button that opened it.

import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n.js";
import { Icon } from "./Icon.jsx";

export function Drawer({ side, label, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const element = dialog.current;
    element.showModal();
    return () => element.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`drawer drawer-${side}`}
      aria-label={label}
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && onClose()}
    >
      <div class="drawer-body">
        <button type="button" class="quiet drawer-close" onClick={onClose} aria-label={t.close}>
          <Icon name="close" />
        </button>
        {children}
      </div>
    </dialog>
  );
}
