{{- /* The controller's configuration file. Read once at start: its checksum is an annotation of the pods. */ -}}
{{- define "l34.config" -}}
{{- with .Values.allowedAddresses }}
allowedAddresses:
  {{- toYaml . | nindent 2 }}
{{- end }}
routerTemplate:
  {{- include "l34.routerTemplate" . | nindent 2 }}
{{- end }}

{{- /*
What the DaemonSet of every Gateway is made of. The controller adds names, selector, labels, the ServiceAccount, the
networks of the Gateway, and the arguments that say whose router a pod is.
*/ -}}
{{- define "l34.routerTemplate" -}}
{{- $router := .Values.router -}}
apiVersion: apps/v1
kind: DaemonSet
spec:
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      {{- if $router.rollout.surge }}
      maxUnavailable: 0
      maxSurge: {{ $router.rollout.maxUnavailable }}
      {{- else }}
      maxUnavailable: {{ $router.rollout.maxUnavailable }}
      maxSurge: 0
      {{- end }}
  template:
    {{- with $router.podAnnotations }}
    metadata:
      annotations:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    spec:
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $router.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with $router.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $router.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $router.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      terminationGracePeriodSeconds: {{ $router.terminationGracePeriodSeconds | int64 }}
      enableServiceLinks: false
      securityContext:
        seccompProfile:
          type: RuntimeDefault
      initContainers:
      # The one privileged part: it sets the sysctls of the pod's network namespace and ends.
      - name: sysctls
        image: {{ include "l34.image" (list . $router.image) | quote }}
        imagePullPolicy: {{ .Values.pullPolicy }}
        args:
        - sysctls
        {{- if $router.forwardOtherTraffic }}
        - --forward-other-traffic
        {{- end }}
        terminationMessagePolicy: FallbackToLogsOnError
        # As the router's: a quota may ask every container for them, and a pod's request is the larger one.
        resources:
          {{- toYaml $router.resources | nindent 10 }}
        securityContext:
          privileged: true
          readOnlyRootFilesystem: true
      containers:
      - name: router
        image: {{ include "l34.image" (list . $router.image) | quote }}
        imagePullPolicy: {{ .Values.pullPolicy }}
        args:
        - run
        - --log-format={{ $router.logFormat }}
        {{- if $router.forwardOtherTraffic }}
        - --forward-other-traffic
        {{- end }}
        {{- with $router.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        terminationMessagePolicy: FallbackToLogsOnError
        env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: POD_UID
          valueFrom: {fieldRef: {fieldPath: metadata.uid}}
        - name: POD_IPS
          valueFrom: {fieldRef: {fieldPath: status.podIPs}}
        - name: NODE_NAME
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        ports:
        - name: http
          containerPort: 9474
        livenessProbe:
          httpGet: {path: /healthz, port: http}
          periodSeconds: 10
          failureThreshold: 6
        readinessProbe:
          httpGet: {path: /readyz, port: http}
          periodSeconds: 2
        resources:
          {{- toYaml $router.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: [ALL]
            add: [NET_ADMIN, NET_RAW, NET_BIND_SERVICE]
        volumeMounts:
        - name: run
          mountPath: /run/l34-router
      volumes:
      # In memory: the last snapshot, which holds keys, and the socket of `show` and `explain`.
      - name: run
        emptyDir:
          medium: Memory
          sizeLimit: 128Mi
{{- end }}
