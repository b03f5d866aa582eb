namespace OrleansCluster.Kubelet.Runtime;

/// <summary>What kind of thing failed, so that a pod worker can choose a reason and whether to try again.</summary>
public enum RuntimeFailure
{
    /// <summary>The image is not known to its registry, may not be pulled, or the registry cannot be reached: <c>ErrImagePull</c>.</summary>
    ImagePull,

    /// <summary>The image is absent and the policy is to never pull: <c>ErrImageNeverPull</c>.</summary>
    ImageNeverPull,

    /// <summary>The image's name cannot be parsed: <c>InvalidImageName</c>.</summary>
    InvalidImageName,

    /// <summary>The image could not be looked at: <c>ImageInspectError</c>.</summary>
    ImageInspect,

    /// <summary>The engine refused to create the container: <c>CreateContainerError</c>.</summary>
    CreateContainer,

    /// <summary>The container was created but its process could not be started: <c>RunContainerError</c>.</summary>
    StartContainer,

    /// <summary>The sandbox could not be created or started: event <c>FailedCreatePodSandBox</c>.</summary>
    Sandbox,

    /// <summary>The pod network could not be set up: event <c>FailedCreatePodSandBox</c>.</summary>
    Network,

    /// <summary>A command could not be started in a container.</summary>
    Exec,

    /// <summary>The container or sandbox does not exist.</summary>
    NotFound,

    /// <summary>The container exists but does not run.</summary>
    NotRunning,

    /// <summary>The engine does not answer; its containers may well run.</summary>
    Unavailable,

    /// <summary>Anything else the engine said no to.</summary>
    Other,
}

/// <summary>A verb of the container runtime failed.</summary>
public sealed class RuntimeException : Exception
{
    /// <summary>Creates the failure.</summary>
    /// <param name="failure">What kind of thing failed.</param>
    /// <param name="message">The words for the user.</param>
    /// <param name="inner">What the engine's client raised.</param>
    public RuntimeException(RuntimeFailure failure, string message, Exception? inner = null)
        : base(message, inner) => Failure = failure;

    /// <summary>What kind of thing failed.</summary>
    public RuntimeFailure Failure { get; }

    /// <summary>The reason a container's waiting state shows, or for the sandbox's failures the reason of the Event.</summary>
    public string Reason => Failure switch
    {
        RuntimeFailure.ImagePull => "ErrImagePull",
        RuntimeFailure.ImageNeverPull => "ErrImageNeverPull",
        RuntimeFailure.InvalidImageName => "InvalidImageName",
        RuntimeFailure.ImageInspect => "ImageInspectError",
        RuntimeFailure.CreateContainer => "CreateContainerError",
        RuntimeFailure.StartContainer => "RunContainerError",
        RuntimeFailure.Sandbox or RuntimeFailure.Network => "FailedCreatePodSandBox",
        _ => "RuntimeError",
    };
}
