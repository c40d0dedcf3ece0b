// The videos of one recording and the playhead, all on the recording's clock.
//
// The clock is the player's own. It runs while all pictures that should move do, and every video is kept to it:
// by its speed where it is a little off, by a jump where it is far off.

const JUMP_SECONDS = 0.25;
const MAX_STALL_SECONDS = 4;
const FIRST_FRAME_WAIT_MS = 1500;

class Screen {
  constructor(source, onChange) {
    this.source = source;
    this.firstSeconds = null; // where the browser shows the first frame; null until it has
    this.wanted = null;
    this.element = make("figure");
    this.element.append(make("figcaption", "", `${source.view} (${source.kind})`));
    this.video = make("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.preload = "auto";
    this.video.setAttribute("aria-label", `Video of view ${source.view}`);
    this.message = make("p");
    const frame = make("div", "screen");
    frame.append(this.video, this.message);
    this.element.append(frame);
    this.video.addEventListener("loadedmetadata", () => {
      frame.style.aspectRatio = `${this.video.videoWidth} / ${this.video.videoHeight}`;
    });
    this.video.addEventListener("loadeddata", () => this.findFirstFrame(onChange));
    this.video.addEventListener("seeked", () => this.wanted !== null && this.goTo(this.wanted));
    this.video.addEventListener("error", () => this.fail());
    this.video.src = source.src;
  }

  // Browsers differ in the time that they give to the first frame of a file that doesn't begin at 0.
  findFirstFrame(onChange) {
    const found = (time) => {
      if (this.firstSeconds !== null) return;
      this.firstSeconds = time;
      onChange();
    };
    this.video.requestVideoFrameCallback?.((_, frame) => found(frame.mediaTime));
    setTimeout(() => found(this.video.currentTime), this.video.requestVideoFrameCallback ? FIRST_FRAME_WAIT_MS : 0);
  }

  fail() {
    const codec = this.source.codec === null ? "" : ` (${this.source.codec})`;
    const reason = this.video.error?.code === 2 ? "can't be read" : `can't be found, or not played by this browser${codec}`;
    this.message.textContent = `${decodeURIComponent(this.source.src)} ${reason}.`;
  }

  get isReady() {
    return this.firstSeconds !== null && !this.video.error;
  }

  // A moment of the recording as the browser's time of this file.
  browserTime(time) {
    const ofFile = time - this.source.offset_seconds;
    if (this.source.clock === "stream-start") return ofFile + this.firstSeconds;
    const first = this.source.first_seconds;
    return first === null ? ofFile : ofFile + this.firstSeconds - first;
  }

  // Whether the view was filming at that moment. A few milliseconds are the rounding of borders.
  holds(time) {
    const at = this.browserTime(time);
    return at >= this.firstSeconds - 0.02 && at < this.video.duration;
  }

  // Show a moment at rest. A seek that is asked for while another is under way waits for it.
  goTo(time) {
    if (!this.isReady) return;
    this.video.pause();
    this.showWhetherFilming(time);
    if (this.video.seeking) {
      this.wanted = time;
      return;
    }
    this.wanted = null;
    const at = Math.min(this.video.duration, Math.max(this.firstSeconds, this.browserTime(time)));
    if (Math.abs(this.video.currentTime - at) > 1e-3) this.video.currentTime = at;
  }

  // Keep up with a clock that runs; false while the picture isn't there yet.
  follow(time, speed) {
    if (!this.isReady) return Boolean(this.video.error);
    this.showWhetherFilming(time);
    if (!this.holds(time)) {
      this.video.pause();
      return true;
    }
    if (this.video.seeking) return false;
    const ahead = this.video.currentTime - this.browserTime(time);
    if (Math.abs(ahead) > JUMP_SECONDS * Math.max(1, speed)) {
      this.video.currentTime = this.browserTime(time);
      return false;
    }
    this.video.playbackRate = speed * (1 - Math.min(0.2, Math.max(-0.2, ahead)));
    if (this.video.paused && !this.video.ended) this.video.play().catch(() => {});
    return this.video.readyState >= 3;
  }

  showWhetherFilming(time) {
    const text = this.holds(time) ? "" : "no picture here at this moment";
    if (this.message.textContent !== text) this.message.textContent = text;
  }

  close() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }
}

const player = {
  card: null,
  time: 0,
  isPlaying: false,
  screens: [],
  lastTick: null,
  stalledSeconds: 0,

  open(card, time) {
    if (this.card !== card) {
      this.pause();
      if (this.card) {
        this.card.element.classList.remove("active");
        this.card.playhead.hidden = true;
      }
      this.card = card;
      fillCard(card);
      card.element.classList.add("active");
      find("player-title").textContent = card.recording.name;
      this.screens.forEach((screen) => screen.close());
      this.screens = card.recording.videos.map((source) => new Screen(source, () => this.seek(this.time)));
      find("screens").replaceChildren(...this.screens.map((screen) => screen.element));
    }
    this.seek(time);
  },

  seek(time) {
    const { start, stop } = this.card.limits;
    this.time = Math.min(stop, Math.max(start, time));
    if (!this.isPlaying) this.screens.forEach((screen) => screen.goTo(this.time));
    this.showTime();
  },

  toggle() {
    if (this.isPlaying) this.pause();
    else if (this.card) this.play();
  },

  play() {
    if (this.time >= this.card.limits.stop - 0.05) this.seek(this.card.limits.start);
    this.isPlaying = true;
    this.lastTick = null;
    this.stalledSeconds = 0;
    this.showButton();
    requestAnimationFrame((now) => this.tick(now));
  },

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.showButton();
    this.screens.forEach((screen) => screen.goTo(this.time));
  },

  tick(now) {
    if (!this.isPlaying) return;
    const speed = Number(find("speed").value);
    const passed = this.lastTick === null ? 0 : Math.min(0.25, (now - this.lastTick) / 1000);
    this.lastTick = now;
    const areMoving = this.screens.map((screen) => screen.follow(this.time, speed)).every(Boolean);
    this.stalledSeconds = areMoving ? 0 : this.stalledSeconds + passed;
    if (areMoving || this.stalledSeconds > MAX_STALL_SECONDS) this.time += passed * speed;
    if (this.time >= this.card.limits.stop) {
      this.time = this.card.limits.stop;
      this.pause();
    }
    this.showTime();
    requestAnimationFrame((then) => this.tick(then));
  },

  // The next border of the upper bar, or the one before.
  step(direction) {
    const starts = (this.card.shown[0]?.segments ?? []).map((segment) => segment.start);
    const later = direction > 0 ? starts.find((start) => start > this.time + 0.01) : starts.findLast((start) => start < this.time - 0.01);
    const { start, stop } = this.card.limits;
    this.seek(later ?? (direction > 0 ? stop : start));
  },

  showButton() {
    find("play").classList.toggle("playing", this.isPlaying);
    find("play").setAttribute("aria-label", this.isPlaying ? "Pause" : "Play");
  },

  showTime() {
    const { limits, playhead, bars } = this.card;
    playhead.hidden = false;
    playhead.style.left = `${(100 * (this.time - limits.start)) / (limits.stop - limits.start)}%`;
    find("clock").textContent = `${this.time.toFixed(1)} / ${seconds(limits.stop)}`;
    bars.setAttribute("aria-valuenow", this.time.toFixed(1));
    const now = this.card.shown.map((bar) => bar.segments.find((s) => s.start <= this.time && this.time < s.stop));
    const truth = this.card.shown[0]?.isTruth ? now[0] : undefined;
    bars.setAttribute("aria-valuetext", `${seconds(this.time)}${truth ? `, ${report.classes[truth.classId].name}` : ""}`);
    find("now").tBodies[0].replaceChildren(...this.card.shown.map((bar, index) => this.nowRow(bar, now[index], truth)));
  },

  nowRow(bar, segment, truth) {
    const row = make("tr");
    const heading = make("th", "", bar.name);
    heading.scope = "row";
    const isScored = truth && !report.classes[truth.classId].isBackground;
    const cell = make("td", isScored && segment?.classId !== truth.classId ? "wrong" : "");
    if (segment) cell.append(swatch(segment.classId), report.classes[segment.classId].name);
    else cell.append("–");
    row.append(heading, cell);
    return row;
  },

  listen() {
    find("play").addEventListener("click", () => this.toggle());
    find("previous").addEventListener("click", () => this.card && this.step(-1));
    find("next").addEventListener("click", () => this.card && this.step(1));
    document.addEventListener("visibilitychange", () => document.hidden && this.pause());
    document.addEventListener("keydown", (event) => {
      if (!this.card || event.ctrlKey || event.altKey || event.metaKey) return;
      if (event.target.closest("input, select, summary, .scroll")) return;
      const isAtBars = event.target.closest(".bars"); // elsewhere these keys are for the page
      if (event.key === " " && !event.target.closest("button")) this.toggle();
      else if (event.key === "ArrowLeft") event.shiftKey ? this.step(-1) : this.seek(this.time - 1);
      else if (event.key === "ArrowRight") event.shiftKey ? this.step(1) : this.seek(this.time + 1);
      else if (event.key === "Home" && isAtBars) this.seek(this.card.limits.start);
      else if (event.key === "End" && isAtBars) this.seek(this.card.limits.stop);
      else return;
      event.preventDefault();
    });
  },
};
