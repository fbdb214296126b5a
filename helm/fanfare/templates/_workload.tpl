{{/* What every pod has in common: the restricted profile of pod security, and two things more. */}}
{{- define "fanfare.podBasics" -}}
serviceAccountName: {{ include "fanfare.serviceAccount" . }}
# Nothing here talks to Kubernetes.
automountServiceAccountToken: false
# Variables such as FANFARE_EDGE_PORT, which Kubernetes makes of Services, look like settings and are none.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - { name: {{ . }} }
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  # The numeric user of the image, "nonroot" in distroless.
  runAsUser: 65532
  runAsGroup: 65532
  # Lets that user read secrets and write data.
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "fanfare.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* What the Deployments of all roles have in common. Each takes list root role. */}}

{{- define "fanfare.container" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := get $root.Values $role -}}
{{- $memory := eq (include "fanfare.isMemory" $root) "true" -}}
name: fanfare
image: {{ include "fanfare.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: [run, --config, {{ include "fanfare.configFile" $root }}]
env:
  {{- /* What the image sets would win over the file; empty, it counts as absent. */}}
  {{- range list "FANFARE_LISTEN" "FANFARE_CONTROL_LISTEN" "FANFARE_ADMIN_LISTEN" "FANFARE_LOG_FORMAT" }}
  - { name: {{ . }}, value: "" }
  {{- end }}
  - name: FANFARE_NODE_NAME
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
  {{- if eq $role "control" }}
  - name: POD_IP
    valueFrom: { fieldRef: { fieldPath: status.podIP } }
  # By address: a name would have to be in the DNS before this pod is ready.
  - name: FANFARE_CONTROL_ADVERTISE
    value: {{ ternary "[$(POD_IP)]:6002" "$(POD_IP):6002" (eq $root.Values.ipFamily "IPv6") | quote }}
  {{- end }}
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
ports:
  {{- if eq $role "edge" }}
  - { name: client, containerPort: 6001 }
  {{- end }}
  {{- if eq $role (include "fanfare.controlComponent" $root) }}
  - { name: control, containerPort: 6002 }
  {{- end }}
  - { name: admin, containerPort: 6003 }
# Whether it started, for a minute. The listener is there before NATS is.
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 2
  failureThreshold: 30
# Whether the runtime makes progress; never whether NATS is there, since restarting every pod would not bring it back.
# A minute, because a restart costs every connection of the pod.
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# Whether it wants new clients.
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{ include "fanfare.containerSecurity" $root }}
volumeMounts:
  - { name: config, mountPath: {{ include "fanfare.configFile" $root }}, subPath: fanfare.toml, readOnly: true }
  # As a directory: renewed certificates reach the container, which they would not by subPath.
  - { name: secrets, mountPath: {{ include "fanfare.secrets" $root }}, readOnly: true }
  {{- if and $memory $root.Values.backbone.dataClaim }}
  - { name: data, mountPath: /var/lib/fanfare }
  {{- end }}
  {{- with $values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "fanfare.podSpec" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := get $root.Values $role -}}
{{- $memory := eq (include "fanfare.isMemory" $root) "true" -}}
{{ include "fanfare.podBasics" $root }}
{{- if eq $role "edge" }}
terminationGracePeriodSeconds: {{ include "fanfare.edgeGrace" $root }}
{{- else }}
# Calls and webhooks that are under way end within 20 s, worker.webhook_timeout and control.request_timeout.
terminationGracePeriodSeconds: 45
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  -
    {{- $chosen := dict "labelSelector" (dict "matchLabels" (include "fanfare.selector" $ | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
    {{- mustMergeOverwrite $chosen (deepCopy .) | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
containers:
  -
    {{- include "fanfare.object" (list $root (printf "%sContainer" $role) (include "fanfare.container" .)) | nindent 4 }}
volumes:
  - name: config
    configMap: { name: {{ include "fanfare.fullname" $root }}-{{ $role }} }
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- $sources := include "fanfare.secretSources" . }}
        {{- if $sources }}{{ $sources | trim | nindent 8 }}{{ else }} []{{ end }}
  {{- if and $memory $root.Values.backbone.dataClaim }}
  - name: data
    persistentVolumeClaim: { claimName: {{ $root.Values.backbone.dataClaim }} }
  {{- end }}
  {{- with $values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "fanfare.deployment" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := get $root.Values $role -}}
{{- $scaled := and (eq $role "edge") $root.Values.edge.autoscaling.enabled -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "fanfare.metadata" (dict "root" $root "name" (printf "%s-%s" (include "fanfare.fullname" $root) $role) "component" $role) | nindent 2 }}
spec:
  {{- if not $scaled }}
  replicas: {{ int64 $values.replicas }}
  {{- else }}
  {{- /* The autoscaler's to say. But when autoscaling is switched on, a field that goes is one that Kubernetes fills
         in, with 1, and all other pods would end: what there is stays. */}}
  {{- with lookup "apps/v1" "Deployment" $root.Release.Namespace (printf "%s-edge" (include "fanfare.fullname" $root)) }}
  replicas: {{ int64 .spec.replicas }}
  {{- end }}
  {{- end }}
  # Old ReplicaSets are what a rollback goes back to; more than a few nobody looks at.
  revisionHistoryLimit: 5
  {{- if eq (include "fanfare.isMemory" $root) "true" }}
  # Two processes in memory would be two clusters that know nothing of each other.
  strategy: { type: Recreate }
  {{- else }}
  # First a new pod, then one that goes: there are never fewer, and only one pod's clients reconnect at a time.
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }
  {{- end }}
  {{- if eq $role "edge" }}
  minReadySeconds: {{ int64 $values.minReadySeconds }}
  {{- $derived := add $values.minReadySeconds (include "fanfare.edgeGrace" $root) 300 }}
  progressDeadlineSeconds: {{ ternary $derived (int64 $values.progressDeadlineSeconds) (kindIs "invalid" $values.progressDeadlineSeconds) }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "fanfare.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        # Not the chart's version: an upgrade that changes nothing for a pod must not replace it.
        {{- include "fanfare.selector" . | nindent 8 }}
        {{- with $root.Values.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # A changed file replaces the pods; Fanfare reads it once.
        checksum/config: {{ include "fanfare.configText" . | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "fanfare.object" (list $root (printf "%sPod" $role) (include "fanfare.podSpec" .)) | nindent 6 }}
{{- end -}}

{{- define "fanfare.disruptionBudget" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "fanfare.metadata" (dict "root" $root "name" (printf "%s-%s" (include "fanfare.fullname" $root) $role) "component" $role) | nindent 2 }}
spec:
  maxUnavailable: {{ (get $root.Values $role).disruptionBudget.maxUnavailable }}
  # A pod that is not ready protects nobody, and must not keep a node from being emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "fanfare.selector" . | nindent 6 }}
{{- end -}}
