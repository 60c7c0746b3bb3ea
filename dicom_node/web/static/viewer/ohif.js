// What OHIF is told by this node: where the images are, and how a head CT is hung. The page that opened it names the
// slice to start at (OHIF's own initialSOPInstanceUID; otherwise the middle one) and the segmentation to lay over.
"use strict";

(() => {
  // The path before every address of this node, behind a proxy.
  const ROOT = new URL(document.currentScript.src).pathname.replace(/\/app-config\.js$/, "");
  const DICOMWEB = `${ROOT}/dicom-web`;
  const BRAIN = { windowWidth: 80, windowCenter: 40 };
  const WARNING = { color: "#ffd479", fontSize: 11 };
  const asked = new URLSearchParams(location.search);

  const is = (attribute, value) => ({ weight: 10, attribute, constraint: { equals: { value } }, required: true });
  const images = { attribute: "numImageFrames", constraint: { greaterThan: { value: 0 } }, required: true };
  const chosen = { weight: 100, attribute: "isDisplaySetFromUrl", constraint: { equals: true } };
  const ct = { seriesMatchingRules: [images, chosen, { ...is("Modality", "CT"), required: false }] };
  const segmentation = asked.get("segmentation");
  const selectors = segmentation
    ? { ct, segmentation: { seriesMatchingRules: [is("SOPInstanceUID", segmentation)] } }
    : { ct };

  const viewportOptions = {
    viewportType: "stack",
    toolGroupId: "default",
    allowUnmatchedView: true,
    initialImageOptions: asked.has("initialSOPInstanceUID") ? { custom: "sopInstanceLocation" } : { preset: "middle" },
  };
  const isCT = !asked.has("modality");
  const shown = [isCT ? { id: "ct", options: { voi: BRAIN } } : { id: "ct" }];
  const headCT = {
    id: "head-ct",
    name: "Head CT",
    protocolMatchingRules: [],
    toolGroupIds: ["default"],
    numberOfPriorsReferenced: 0,
    displaySetSelectors: selectors,
    defaultViewport: { viewportOptions, displaySets: [{ id: "ct", matchedDisplaySetsIndex: -1 }] },
    stages: [
      {
        name: "one",
        viewportStructure: { layoutType: "grid", properties: { rows: 1, columns: 1 } },
        viewports: [{ viewportOptions, displaySets: segmentation ? [...shown, { id: "segmentation" }] : shown }],
      },
    ],
  };

  // The bleed must stay visible under its colour: a thin line and a breath of fill.
  const thin = ({ servicesManager }) =>
    servicesManager.services.segmentationService.setStyle(
      { type: "Labelmap" },
      { outlineWidth: 2, outlineWidthInactive: 2, fillAlpha: 0.15, fillAlphaInactive: 0.15 },
    );

  // OHIF knows no key object selections and warns of what it does not know: it lists them with this, and no more.
  const KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59";
  const HANDLER = "triage-node.sopClassHandlerModule.key-objects";
  const KEPT = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality"];
  const TOLD = ["SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime"];
  const listed = (instances) => {
    const last = instances[instances.length - 1];
    const said = Object.fromEntries([...KEPT, ...TOLD].map((name) => [name, last[name]]));
    const id = `key-objects-${last.SeriesInstanceUID}`;
    const fixed = { displaySetInstanceUID: id, SOPClassHandlerId: HANDLER, instances, instance: last };
    return [{ ...said, ...fixed, numImageFrames: 0, isReconstructable: false, unsupported: true, thumbnailSrc: null }];
  };

  // The bar of this node below OHIF, in a frame of its own.
  const study = asked.get("StudyInstanceUIDs")?.split(",")[0];
  const showBar = () => {
    const style = document.createElement("link");
    const frame = document.createElement("iframe");
    const src = `${ROOT}/studies/${encodeURIComponent(study)}/bar`;
    Object.assign(style, { rel: "stylesheet", href: `${ROOT}/static/viewer/frame.css` });
    Object.assign(frame, { id: "triage-bar", title: "Result and feedback", src });
    document.head.append(style);
    document.body.append(frame);
  };
  if (study) addEventListener("DOMContentLoaded", showBar);

  const link = (React, href, text) => React.createElement("a", { href, style: { marginRight: 12 } }, text);
  const header = (React) =>
    React.createElement(
      "div",
      { style: { color: "#fff", fontSize: 14, lineHeight: 1.3, whiteSpace: "nowrap" } },
      link(React, sessionStorage.getItem("list") || `${ROOT}/`, "‹ Worklist"),
      link(React, `${ROOT}/studies/${encodeURIComponent(study)}`, "Result and feedback"),
      React.createElement("div", { style: WARNING }, "Research software, not for diagnostic use"),
    );

  window.config = {
    routerBasename: "/viewer",
    showStudyList: false,
    showPatientInfo: "visible",
    extensions: [
      {
        id: "triage-node",
        getHangingProtocolModule: () => [{ name: headCT.id, protocol: headCT }],
        getSopClassHandlerModule: () => [
          { name: "key-objects", sopClassUids: [KEY_OBJECTS], getDisplaySetsFromSeries: listed },
        ],
        onModeEnter: thin,
      },
    ],
    modes: [],
    modesConfiguration: {
      "@ohif/mode-basic": {
        routeName: { $set: "study" },
        hangingProtocol: { $set: headCT.id },
        sopClassHandlers: { $push: [HANDLER] },
        routes: { 0: { layoutInstance: { props: { rightPanelClosed: { $set: !segmentation } } } } },
      },
    },
    customizationService: [{ "ohif.tours": { $set: [] } }],
    investigationalUseDialog: { option: "never" },
    whiteLabeling: { createLogoComponentFn: header },
    disableConfirmationPrompts: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    showErrorDetails: "always",
    defaultDataSourceName: "node",
    dataSources: [
      {
        namespace: "@ohif/extension-default.dataSourcesModule.dicomweb",
        sourceName: "node",
        configuration: {
          friendlyName: "triage-node",
          name: "node",
          qidoRoot: DICOMWEB,
          wadoRoot: DICOMWEB,
          wadoUriRoot: DICOMWEB,
          imageRendering: "wadors",
          thumbnailRendering: "wadors",
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          singlepart: "bulkdata,video,pdf",
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
  window.config.routerBasename = ROOT + window.config.routerBasename;
})();
