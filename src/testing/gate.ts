/** A promise and the means to settle it. */
export interface Gate {
  opened: Promise<void>;
  open: () => void;
}

/** Lets a test decide when something that waits may go on. */
export function createGate(): Gate {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}
