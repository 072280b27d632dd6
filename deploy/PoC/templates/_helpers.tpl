{{- /* Labels of everything in this chart but the pods. */ -}}
{{- define "l34.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "l34.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: l34-gateway
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- /* What the Deployment's selector, the budget and the policy select by. */ -}}
{{- define "l34.selector" -}}
app.kubernetes.io/name: l34-controller
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Full name of an image: (list . "l34-router"). */ -}}
{{- define "l34.image" -}}
{{- $ := index . 0 -}}
{{ $.Values.registry }}/{{ index . 1 }}:{{ $.Values.version | default $.Chart.AppVersion }}
{{- end }}

{{- /* Of the controller and of the clean-up: no rights on the node, nothing to write to. */ -}}
{{- define "l34.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "l34.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The arguments that `run` and `cleanup` share. */ -}}
{{- define "l34.commonArgs" -}}
- --log-format={{ .Values.controller.logFormat }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- end }}

{{- /* Where the controller's pods may run; the clean-up follows them. */ -}}
{{- define "l34.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.controller.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.controller.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.controller.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.controller.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
