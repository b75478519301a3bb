/** Where a new engine can die while it takes devices over. */
export const pointsOfNew = ["before", "after"].flatMap((moment) =>
  ["START_USER_RECOVERY", "END_USER_RECOVERY", "journal-serving"].map((step) => `${moment}:${step}`),
);

/** Where an old engine can die while it gives them. Both need a kernel with QUIESCE. */
export const pointsOfOld = ["before:QUIESCE_DEV", "after:QUIESCE_DEV"];
