{{- define "task-engine.name" -}}
{{- if contains "task-engine" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-task-engine" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "task-engine.selector" -}}
app.kubernetes.io/name: task-engine
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "task-engine.labels" -}}
{{ include "task-engine.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "task-engine.secret" -}}
{{- required "existingSecret is required: a secret with the keys database-url, broker-url, api-key and sealing-key" .Values.existingSecret -}}
{{- end }}

{{/* Of every pod. serviceLinks would set TASKENGINE_PORT where a service is called taskengine: a setting of ours. */}}
{{- define "task-engine.pod" -}}
enableServiceLinks: false
automountServiceAccountToken: false
serviceAccountName: {{ include "task-engine.name" . }}
terminationGracePeriodSeconds: {{ add (int .Values.drainGraceSeconds) 15 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "task-engine.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* What every process is told; the secrets come as files, so that no child and no crash report has them. */}}
{{- define "task-engine.environment" -}}
- {name: TASKENGINE_CONFIG, value: /etc/task-engine/taskengine.yaml}
- {name: TASKENGINE_BROKER_URL_FILE, value: /etc/task-engine/secret/broker-url}
- {name: TASKENGINE_SEALING_KEY_FILE, value: /etc/task-engine/secret/sealing-key}
{{- if .Values.media.enabled }}
- {name: TASKENGINE_STORAGES__LOCAL__URL, value: /media/storage}
- {name: TASKENGINE_WORKSPACE, value: /media/workspace}
{{- end }}
- {name: TASKENGINE_SCRATCH, value: /data/scratch}
- {name: TASKENGINE_DRAIN_GRACE_S, value: {{ .Values.drainGraceSeconds | quote }}}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "task-engine.mounts" -}}
- {name: config, mountPath: /etc/task-engine/taskengine.yaml, subPath: taskengine.yaml, readOnly: true}
- {name: secret, mountPath: /etc/task-engine/secret, readOnly: true}
{{- if .Values.media.enabled }}
- {name: media, mountPath: /media}
{{- end }}
- {name: data, mountPath: /data}
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Called with root, keys (of the secret) and scratch (its size). */}}
{{- define "task-engine.volumes" -}}
- name: config
  configMap: {name: {{ include "task-engine.name" .root }}}
- name: secret
  secret:
    secretName: {{ include "task-engine.secret" .root }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- if .root.Values.media.enabled }}
- name: media
  persistentVolumeClaim: {claimName: {{ .root.Values.media.existingClaim | default (printf "%s-media" (include "task-engine.name" .root)) }}}
{{- end }}
- name: data
  emptyDir: {sizeLimit: {{ .scratch | quote }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
